"""Pictures of networks, one file per question: `viz.f(model, image or images, layer, ...)`.

Every function returns an object that shows itself in a notebook, with its matplotlib figure by `.figure()` and the picture
in words in `.alt`. What computes an image, a map or a curve has its numbers in `.array`: a NumPy array, of several nets
(`gradient_flow`) or pictures (`beside`) a list of arrays, of several layers (`browse`) {layer: array}. The drawings `stacks`
and `diagram` have no `.array` but `.svg()`, the drawing as text. Layers go by name, in nested and Sequential models too;
TensorFlow and JAX alike. Whether a net scales its pixels itself, what its output is and which names of classes it carries
is read off the net. Wrong arguments raise ValueError that says what was given and what is possible.

diagrams    stacks: networks side by side, a box per layer; diagram: a network, or one block, as its paper draws it
inside      slide: a kernel at every place of a grid of numbers
            feature_maps, filters, convolve: what is inside, and one convolution taken apart
            receptive_field, field_explorer: what a unit can see, and does see
            maximise: the image that a channel answers to most
            nearest, embed: what is alike for a layer
            landscape, gradient_flow: the loss around the weights, and its gradient by depth
            Film, browse: training epoch by epoch, a net layer by layer, on a page that needs no kernel
            overlay, errors, segmented, skips: a class for every pixel
why         cam, grad_cam, grad_cam_plus_plus, score_cam, saliency, smooth_grad, integrated_gradients,
            guided_backprop, deconvnet, occlusion: which pixels speak for a class
            randomisation, deletion, insertion: is that map about this net at all?
            heat_maps: maps that code of one's own made of an image, side by side
picture     beside: several pictures of one image in one figure
runs        curves: training runs over epochs
trading     trade_off: accuracy, memory and speed of nets in one chart, whose axes are chosen on the page
classified  confusion, hardest: what a classifier takes for what
style       the look of all figures: palette, figure, colors
"""

import importlib

# name -> the file it lives in; a file called like a function would hide it
_FILES = {
    "beside": "picture",
    "curves": "runs",
    **dict.fromkeys(("confusion", "hardest"), "classified"),
    "trade_off": "trading",
    "stacks": "diagrams.stacks",
    "diagram": "diagrams.diagram",
    "slide": "inside.sliding",
    **dict.fromkeys(("feature_maps", "filters", "convolve"), "inside.maps"),
    "receptive_field": "inside.fields",
    "field_explorer": "inside.explorer",
    "maximise": "inside.ascent",
    **dict.fromkeys(("nearest", "embed"), "inside.space"),
    **dict.fromkeys(("landscape", "gradient_flow"), "inside.surface"),
    **dict.fromkeys(("Film", "browse"), "inside.film"),
    **dict.fromkeys(("overlay", "errors", "segmented", "skips"), "inside.segmenting"),
    **dict.fromkeys(("cam", "grad_cam", "grad_cam_plus_plus", "score_cam"), "why.attribution"),
    **dict.fromkeys(("saliency", "smooth_grad", "integrated_gradients"), "why.attribution"),
    **dict.fromkeys(("guided_backprop", "deconvnet", "occlusion"), "why.attribution"),
    **dict.fromkeys(("randomisation", "deletion", "insertion"), "why.sanity"),
    "heat_maps": "why.compared",
}
__all__ = [*_FILES, "style"]


def __getattr__(name):
    if name in _FILES:
        return getattr(importlib.import_module(f"cnnbook.viz.{_FILES[name]}"), name)
    if name == "style":
        return importlib.import_module("cnnbook.viz.style")
    raise AttributeError(f"cnnbook.viz has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)
