"""Pictures of networks, one file per question: `viz.f(model, image or images, layer, ...)`.

Every function gives an object that shows itself in a notebook, with its numbers in `.array` and its matplotlib figure by
`.figure()`; layers go by name, in nested and Sequential models too; TensorFlow and JAX alike.

stack        stacks: networks side by side, a box per layer
architecture diagram: a network, or one block, as its paper draws it
maps         feature_maps, filters, convolve: what is inside, and one convolution taken apart
attribution  grad_cam, grad_cam_plus_plus, score_cam, saliency, smooth_grad, integrated_gradients, guided_backprop,
             deconvnet, occlusion: which pixels speak for a class
sanity       randomisation, deletion, insertion: is that map about this net at all?
field        receptive_field: what a unit can see, and does see
ascent       maximise: the image that a channel answers to most
space        nearest, embed: what is alike for a layer
surface      landscape, gradient_flow: the loss around the weights, and its gradient by depth
film         Film, browse: training epoch by epoch, a net layer by layer, on a page that needs no kernel
explorer     field_explorer: the receptive field under the mouse
segmenting   overlay, errors, segmented, skips: a class for every pixel
picture      beside: several pictures of one image in one figure
"""

import importlib

# name -> the file it lives in; a file called like a function would hide it
_FILES = {
    "style": "style",
    "stacks": "stack",
    "diagram": "architecture",
    **dict.fromkeys(("feature_maps", "filters", "convolve"), "maps"),
    **dict.fromkeys(("grad_cam", "grad_cam_plus_plus", "score_cam"), "attribution"),
    **dict.fromkeys(("saliency", "smooth_grad", "integrated_gradients"), "attribution"),
    **dict.fromkeys(("guided_backprop", "deconvnet", "occlusion"), "attribution"),
    **dict.fromkeys(("randomisation", "deletion", "insertion"), "sanity"),
    "receptive_field": "field",
    "maximise": "ascent",
    **dict.fromkeys(("nearest", "embed"), "space"),
    **dict.fromkeys(("landscape", "gradient_flow"), "surface"),
    **dict.fromkeys(("Film", "browse"), "film"),
    "field_explorer": "explorer",
    "beside": "picture",
    **dict.fromkeys(("overlay", "errors", "segmented", "skips"), "segmenting"),
}


def __getattr__(name):
    if name in _FILES:
        module = importlib.import_module(f"cnnbook.viz.{_FILES[name]}")
        return module if name == _FILES[name] else getattr(module, name)
    if name in _FILES.values():
        return importlib.import_module(f"cnnbook.viz.{name}")
    raise AttributeError(f"cnnbook.viz has no {name!r}; it has {', '.join(_FILES)}")


def __dir__():
    return sorted([*globals(), *_FILES])
