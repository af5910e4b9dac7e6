"""What all experiments share; the files of chapters import it from `cnnbook.experiments`.

experiment  Experiment: a function, its variants, the live and the kept size
measured    Run and Runs: what was measured, averaged over seeds
evidence    Evidence: kept runs, their file and their facts
room        the experiments of a package, by name
"""

__all__ = ["evidence", "experiment", "measured", "room"]
