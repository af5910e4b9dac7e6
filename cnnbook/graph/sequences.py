"""Rules for sequences, volumes and tokens: what stands beside images in courses and in keras.applications.

Where their units look is not followed: a receptive field here is one of pixels, in two directions. What they cost is.
"""

from dataclasses import replace

from keras import layers as L

from .rules import (
    _channel_norm_field,
    _conv_macs,
    _dense_words,
    _depthwise_macs,
    _global_field,
    _separable_macs,
    _transposed_macs,
    _transposed_words,
    _unknown_field,
    class_name,
    conv_words,
    fixed_words,
    lower_case_words,
    pool_words,
    register,
    rule_of,
)

# --------------------------------------------------------------------------- one direction, and three


def _conv(macs, words):
    return dict(group="conv", field=_unknown_field, macs=macs, box="conv", words=words)


register(L.Conv1D, L.Conv3D, **_conv(_conv_macs, conv_words("conv", "conv")))
register(L.Conv1DTranspose, L.Conv3DTranspose, **_conv(_transposed_macs, _transposed_words))
register(L.DepthwiseConv1D, **_conv(_depthwise_macs, conv_words("depthw.", "depthwise")))
register(L.SeparableConv1D, **_conv(_separable_macs, conv_words("separable", "separable")))

_POOL = dict(group="pool", field=_unknown_field, box="pool")
register(L.MaxPooling1D, L.MaxPooling3D, **_POOL, words=pool_words("max pool", "max pool"))
register(L.AveragePooling1D, L.AveragePooling3D, **_POOL, words=pool_words("avg pool", "average pool"))
_GLOBAL = dict(group="pool", field=_global_field, box="pool")
register(
    *(L.GlobalAveragePooling1D, L.GlobalAveragePooling3D),
    **_GLOBAL,
    words=fixed_words("global", "average", "global average pool"),
)
register(
    *(L.GlobalMaxPooling1D, L.GlobalMaxPooling3D),
    **_GLOBAL,
    words=fixed_words("global", "maximum", "global max pool"),
)
register(
    *(L.UpSampling1D, L.UpSampling3D, L.RepeatVector),
    group="enlarge",
    field=_unknown_field,
    box="pool",
    words=fixed_words("enlarge"),
)
register(L.ZeroPadding1D, L.ZeroPadding3D, group="padding", field=_unknown_field, words=fixed_words("pad"))
register(L.Cropping1D, L.Cropping3D, group="padding", field=_unknown_field, words=fixed_words("crop"))
register(L.Permute, group="reshape", field=_unknown_field, words=lower_case_words)

# --------------------------------------------------------------------------- tokens, and steps of time


def _mixing_field(operation, field, inputs, outputs):
    """Of what reads all tokens or steps; vectors of the whole image see no more than before."""
    return field.unknown() if field.local else field


def _einsum_field(operation, field, inputs, outputs):
    """The place stays where the equation leaves all axes but the last alone."""
    source, _, rest = operation.equation.partition(",")
    target = rest.partition("->")[2]
    return field if source[:-1] == target[:-1] or not field.local else field.unknown()


_ATTENTION = dict(group="attention", field=_mixing_field, macs=None, box="other", words=class_name)
register(L.MultiHeadAttention, L.GroupQueryAttention, L.Attention, L.AdditiveAttention, **_ATTENTION)
register(L.Dot, group="merge", field=_mixing_field, macs=None, box="merge", words=fixed_words("dot"))
register(
    L.EinsumDense,
    group="dense",
    field=_einsum_field,
    macs=None,
    box="dense",
    words=_dense_words,
)
register(
    *(L.RNN, L.Bidirectional),
    group="recurrent",
    field=_mixing_field,
    macs=None,
    box="other",
    words=class_name,
)
register(L.Masking, L.ActivityRegularization, group="pointwise", words=lower_case_words)
register(L.UnitNormalization, group="norm", field=_channel_norm_field, words=fixed_words("unit norm"))
if hasattr(L, "RMSNormalization"):  # the youngest of them
    register(L.RMSNormalization, group="norm", field=_channel_norm_field, words=fixed_words("RMS norm"))

# --------------------------------------------------------------------------- a layer around another


def _inner_words(wrapper, shape):
    return rule_of(wrapper.layer).words(wrapper.layer, shape)


@rule_of.register(L.SpectralNormalization)
def _as_the_layer_inside(wrapper):
    """The kernel is divided by its norm; all else is as in the layer inside."""
    inner = rule_of(wrapper.layer)

    def field(wrapper, *given):
        return inner.field(wrapper.layer, *given)

    return replace(inner, field=field, macs=None, kernels=None, words=_inner_words)


@rule_of.register(L.TimeDistributed)
def _as_the_layer_at_each_step(wrapper):
    return replace(
        rule_of(wrapper.layer), field=_unknown_field, macs=None, kernels=None, words=_inner_words, reads=None
    )
