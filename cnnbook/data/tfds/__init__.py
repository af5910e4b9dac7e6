"""Sets that come by TensorFlow Datasets, and our drawn ones as its builders; TensorFlow is imported when one is loaded."""
