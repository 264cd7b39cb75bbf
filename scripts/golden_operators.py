"""Operator goldens: one .safetensors file per operator. Run through goldens.py.

Every case is one line of CASES. Inputs, parameters and the upstream gradient are f32
random numbers; PyTorch computes outputs and gradients from them in f64. Tensors of a
case ("want." marks results):

    <case>/input.<i>  <case>/param.<name>  <case>/state.<name>  <case>/grad_output
    <case>/want.output  <case>/want.grad.input.<i>  <case>/want.grad.<param name>
    <case>/want.state.<name>

The metadata's `cases` is a JSON list of {id, op, args, mode, inputs, atol}, where atol
maps each wanted tensor to 8 times the larger of
  - the difference between PyTorch's own f32 run and the f64 run, and
  - the change of the f64 result when every number given changes by one part in 2^24
    (PyTorch's f32 batch norm, for one, accumulates in f64, which a GPU does not),
but no less than 1e-7 of the tensor's largest magnitude, and 1e-8.
"""

import copy
import json
import zlib

import torch
from torch import nn
from torch.nn import functional as F

from golden_file import disturbed, save, tolerances
from torch_layers import LAYERS, build

SAFETY = 8

# ---- Inputs ------------------------------------------------------------------------


def normal(shape, generator, scale=1.0, shift=0.0):
    return torch.randn(shape, generator=generator) * scale + shift


def away_from(*kinks, gap=0.02):
    """Normal numbers, none of them within `gap` of a kink of the function."""

    def draw(shape, generator, **options):
        x = normal(shape, generator, **options)
        for kink in kinks:
            near = (x - kink).abs() < gap
            x = torch.where(near, kink + gap * torch.where(x < kink, -2.0, 2.0), x)
        return x

    return draw


def spaced(shape, generator):
    """Distinct, evenly spaced numbers in random order: no ties for max pooling."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=generator)
    return ((order - count / 2) / max(count, 64) * 4).reshape(shape)


def small_integers(shape, generator):
    return torch.randint(-2, 3, shape, generator=generator).float()


def classes(count, ignored=None):
    """Class indices below `count`, every third of them `ignored` if that is given."""

    def draw(shape, generator):
        index = torch.randint(0, count, shape, generator=generator)
        if ignored is not None:
            index[::3] = ignored
        return index

    return draw


def probabilities(shape, generator):
    return torch.softmax(2 * normal(shape, generator), -1)


def zero_or_one(shape, generator):
    return torch.randint(0, 2, shape, generator=generator).float()


# ---- Operators that are no layers: functions of (inputs, args) -----------------------


def tensor_args(args, like):
    """Lists of numbers (class weights) become tensors."""
    make = lambda v: torch.tensor(v, dtype=like.dtype) if isinstance(v, list) else v
    return {name: make(value) for name, value in args.items()}


FUNCTIONS = {
    "add": lambda x, args: x[0] + x[1],
    "mul": lambda x, args: x[0] * x[1],
    "concat": lambda x, args: torch.cat(x, 1),
    "cross_entropy": lambda x, args: F.cross_entropy(*x, **tensor_args(args, x[0])),
    "mse": lambda x, args: F.mse_loss(*x, **args),
    "bce_with_logits": lambda x, args: F.binary_cross_entropy_with_logits(
        *x, **tensor_args(args, x[0])
    ),
    "smooth_l1": lambda x, args: F.smooth_l1_loss(*x, **args),
}
LOSSES = {"cross_entropy", "mse", "bce_with_logits", "smooth_l1"}


class Function(nn.Module):
    def __init__(self, op, args):
        super().__init__()
        self.op, self.args = op, args

    def forward(self, *inputs):
        return FUNCTIONS[self.op](inputs, self.args)


# ---- Cases ---------------------------------------------------------------------------


def case(id, *shapes, mode="train", draw=normal, grad=normal, **args):
    """One case on inputs of these shapes; further keywords are the operator's arguments.

    draw: how to draw input.0, or a list with one function per input. `scale` and `shift`
    among the keywords go to the first of these.
    """
    options = {name: args.pop(name) for name in ("scale", "shift") if name in args}
    return dict(
        id=id, shapes=shapes, mode=mode, draw=draw, options=options, grad=grad, args=args
    )


def conv(id, shape, out, kernel, **args):
    return case(id, shape, out_channels=out, kernel_size=kernel, **args)


def max_pool(id, shape, kernel, draw=spaced, **args):
    return case(id, shape, draw=draw, kernel_size=kernel, **args)


def ties(id, shape, kernel, **args):
    draw = {"draw": small_integers, "grad": small_integers}
    return case(f"ties_{id}", shape, **draw, kernel_size=kernel, **args)


def avg_pool(id, shape, kernel, **args):
    return case(id, shape, kernel_size=kernel, **args)


def activation(*kinks, scale=2.0, wide=True, **args):
    """The usual shapes for an elementwise function with these kinks."""
    draw = away_from(*kinks)
    shapes = {"image": (2, 3, 5, 7), "row": (3, 131), "one": (1, 1, 1, 1)}
    cases = [case(id, s, draw=draw, scale=scale, **args) for id, s in shapes.items()]
    return cases + [case("wide", (2, 65), draw=draw, scale=40.0, **args)] * wide


def entropy(id, shape, target=None, ignored=None, scale=2.0, **args):
    """Cross entropy with class indices, or with `target` drawing probabilities."""
    target = target or classes(shape[1], ignored)
    target_shape = shape if target is probabilities else shape[:1]
    draw = [away_from(), target]
    return case(id, shape, target_shape, draw=draw, scale=scale, **args)


def loss(id, shape, target=normal, **args):
    return case(id, shape, shape, draw=[normal, target], scale=2.0, **args)


BROADCASTS = [
    case("same", (2, 3, 5, 7), (2, 3, 5, 7)),
    case("same_one", (1, 1, 1, 1), (1, 1, 1, 1)),
    case("same_matrix", (3, 67), (3, 67)),
    case("image_channel", (3, 5, 7, 3), (3, 5, 1, 1)),
    case("channel_of_all", (2, 5, 3, 7), (1, 5, 1, 1)),
    case("channel_no_batch", (2, 5, 7, 3), (5, 1, 1)),
    case("image", (3, 2, 5, 7), (1, 1, 5, 7)),
    case("trailing", (3, 2, 5, 7), (5, 7)),
    case("row", (3, 2, 5, 7), (7,)),
    case("scalar", (2, 3, 5, 7), ()),
    case("both_sides", (3, 1, 5, 1), (1, 4, 1, 7)),
    case("left_smaller", (5, 1, 1), (2, 5, 3, 3)),
    case("matrix_row", (5, 33), (33,)),
]

CASES = {
    "conv2d": [
        conv("k3", (2, 3, 9, 9), 8, 3),
        conv("k3_no_bias", (2, 5, 7, 11), 7, 3, padding=1, bias=False),
        conv("one_pixel", (1, 1, 1, 1), 1, 1),
        conv("one_pixel_padded", (1, 3, 1, 1), 5, 3, padding=1),
        conv("k1", (3, 17, 3, 5), 33, 1),
        conv("k1_stride2", (2, 5, 9, 7), 6, 1, stride=2, bias=False),
        conv("stride_over_kernel", (2, 3, 11, 13), 4, 2, stride=3),
        conv("stride2", (3, 4, 10, 9), 6, 3, stride=2, padding=1),
        conv("unused_border", (2, 3, 8, 10), 5, 3, stride=[3, 4]),
        conv("dilation2", (2, 3, 11, 9), 5, 3, padding=2, dilation=2),
        conv(
            "asymmetric", (2, 3, 13, 10), 5, [3, 2], stride=[2, 1], padding=[0, 1], dilation=[1, 3]
        ),
        conv("wide_kernel", (1, 2, 5, 17), 3, [1, 7], stride=[1, 2], padding=[0, 3]),
        conv("over_padded", (2, 2, 3, 3), 3, 3, padding=4),
        conv("whole_image", (5, 3, 7, 5), 9, [7, 5]),
        conv("odd_sizes", (1, 17, 7, 9), 19, 3, padding=1),
        conv("odd_sizes_stride2", (2, 9, 7, 9), 35, 3, stride=2, padding=1, bias=False),
        conv("k5", (2, 3, 11, 12), 6, 5, padding=2),
        conv("k7_stride2", (1, 3, 15, 17), 5, 7, stride=2, padding=3, bias=False),
        conv("groups2", (2, 6, 7, 5), 4, 3, padding=1, groups=2),
        conv("groups3_stride2", (2, 9, 9, 8), 15, 3, stride=2, padding=1, groups=3, bias=False),
        conv("groups_k1", (2, 12, 5, 3), 8, 1, groups=4),
        conv("depthwise", (2, 7, 5, 9), 7, 3, padding=1, groups=7),
        conv("depthwise_stride2", (3, 5, 10, 7), 5, 3, stride=2, padding=1, groups=5, bias=False),
        conv("depthwise_dilated", (1, 3, 13, 11), 3, 3, padding=2, dilation=2, groups=3),
        conv("depthwise_k5", (2, 4, 7, 7), 4, 5, padding=2, groups=4),
        conv("depthwise_multiplier", (2, 5, 7, 9), 15, 3, padding=1, groups=5),
        conv("same_odd", (2, 3, 7, 8), 4, 3, padding="same"),
        conv("same_even", (2, 3, 7, 8), 4, 4, padding="same"),
        conv("same_uneven", (2, 3, 9, 7), 4, [2, 3], padding="same", dilation=[3, 1]),
        conv("same_depthwise_even", (2, 3, 6, 5), 3, 2, padding="same", groups=3),
    ],
    "linear": [
        case("plain", (4, 10), out_features=7),
        case("one", (1, 1), out_features=1),
        case("one_row", (1, 65), out_features=33),
        case("no_bias", (5, 17), out_features=19, bias=False),
        case("odd_sizes", (37, 67), out_features=35),
        case("many_rows", (131, 9), out_features=3),
        case("narrow", (3, 257), out_features=1),
        case("from_one", (6, 1), out_features=21, bias=False),
        case("channels", (2, 9, 5, 3), out_features=7, dim="channels"),
    ],
    "max_pool2d": [
        max_pool("k2", (2, 3, 8, 6), 2),
        max_pool("k2_odd_image", (2, 3, 7, 9), 2),
        max_pool("one_pixel", (1, 1, 1, 1), 1),
        max_pool("one_pixel_padded", (2, 3, 1, 1), 3, stride=1, padding=1),
        max_pool("overlap_padded", (2, 3, 9, 8), 3, stride=2, padding=1),
        max_pool("stride1", (1, 2, 5, 7), 3, stride=1),
        max_pool("stride_over_kernel", (2, 3, 11, 10), 2, stride=3),
        max_pool("dilated", (2, 2, 11, 9), 3, stride=2, padding=1, dilation=2),
        max_pool(
            "asymmetric", (2, 3, 10, 9), [3, 2], stride=[1, 2], padding=[1, 0], dilation=[1, 2]
        ),
        max_pool("ceil", (2, 3, 7, 8), 3, stride=2, ceil_mode=True),
        max_pool("ceil_last_in_padding", (2, 2, 5, 7), 2, padding=1, ceil_mode=True),
        max_pool("ceil_stride_over_kernel", (1, 3, 6, 8), 1, stride=4, ceil_mode=True),
        max_pool("ceil_dilated", (2, 2, 9, 10), 2, stride=3, padding=1, dilation=3, ceil_mode=True),
        max_pool("whole_image", (3, 5, 5, 3), [5, 3]),
        ties("k2", (2, 3, 6, 8), 2),
        ties("overlap_padded", (2, 3, 9, 7), 3, stride=2, padding=1),
        ties("stride1", (1, 2, 7, 7), 3, stride=1, padding=1),
        ties("dilated", (2, 2, 9, 9), 3, stride=1, padding=1, dilation=2),
        ties("ceil", (2, 3, 7, 8), 3, stride=2, padding=1, ceil_mode=True),
    ],
    "avg_pool2d": [
        avg_pool("k2", (2, 3, 8, 6), 2),
        avg_pool("k2_odd_image", (2, 3, 7, 9), 2),
        avg_pool("one_pixel", (1, 1, 1, 1), 1),
        avg_pool("overlap_padded", (2, 3, 9, 8), 3, stride=2, padding=1),
        avg_pool(
            "padding_not_counted", (2, 3, 9, 8), 3, stride=2, padding=1, count_include_pad=False
        ),
        avg_pool(
            "one_pixel_not_counted", (2, 3, 1, 1), 3, stride=1, padding=1, count_include_pad=False
        ),
        avg_pool("stride_over_kernel", (2, 3, 11, 10), 2, stride=3),
        avg_pool("asymmetric", (2, 3, 10, 9), [3, 2], stride=[1, 2], padding=[1, 0]),
        avg_pool("ceil", (2, 3, 8, 10), 3, stride=2, ceil_mode=True),
        avg_pool("ceil_padded", (2, 3, 8, 7), 3, stride=2, padding=1, ceil_mode=True),
        avg_pool(
            "ceil_not_counted", (2, 3, 8, 7), 3, stride=2, padding=1,
            ceil_mode=True, count_include_pad=False,
        ),
        avg_pool("ceil_last_in_padding", (2, 2, 5, 7), 2, padding=1, ceil_mode=True),
        avg_pool("ceil_stride_over_kernel", (1, 3, 6, 8), [1, 2], stride=[4, 3], ceil_mode=True),
        avg_pool("divisor", (2, 3, 7, 6), 3, stride=2, padding=1, divisor_override=5),
    ],
    "adaptive_avg_pool2d": [
        case("to_one", (2, 3, 5, 7), output_size=1),
        case("even", (2, 3, 8, 12), output_size=4),
        case("uneven", (2, 3, 7, 11), output_size=[3, 4]),
        case("uneven_overlap", (2, 2, 5, 7), output_size=[4, 5]),
        case("enlarge", (1, 3, 2, 3), output_size=[3, 7]),
        case("identity", (2, 3, 5, 4), output_size=[5, 4]),
        case("one_pixel", (3, 5, 1, 1), output_size=2),
        case("one_side", (2, 3, 13, 6), output_size=[1, 5]),
    ],
    "global_avg_pool2d": [
        case("odd", (3, 5, 7, 9)),
        case("one_pixel", (2, 3, 1, 1)),
        case("one_image", (1, 17, 3, 19)),
        case("large", (1, 2, 33, 35)),
    ],
    "flatten": [
        case("image", (3, 5, 7, 2)),
        case("one", (1, 1, 1, 1)),
        case("column", (2, 17, 1, 1)),
        case("matrix", (3, 11)),
    ],
    "batch_norm": [
        case("train", (4, 5, 7, 3)),
        case("train_one_image", (1, 3, 5, 5)),
        case("train_rows", (9, 7, 1, 1)),
        case("train_tiny", (3, 5, 1, 1)),
        case("train_odd", (3, 17, 5, 7)),
        case("train_one_channel", (2, 1, 33, 35)),
        case("train_args", (3, 4, 5, 3), eps=1e-3, momentum=0.3),
        case("train_no_affine", (3, 5, 5, 3), affine=False),
        case("train_shifted", (4, 5, 6, 7), scale=2.0, shift=5.0),
        case("train_far_mean", (4, 3, 9, 7), shift=100.0),
        case("eval", (4, 5, 7, 3), mode="eval"),
        case("eval_one", (1, 3, 1, 1), mode="eval"),
        case("eval_args", (2, 4, 5, 3), mode="eval", eps=1e-2, momentum=0.5),
        case("eval_no_affine", (2, 5, 3, 7), mode="eval", affine=False),
    ],
    "layer_norm": [
        case("chw", (3, 5, 7, 3), dims="chw"),
        case("chw_one_image", (1, 3, 5, 5), dims="chw", eps=1e-3),
        case("chw_one_pixel", (4, 7, 1, 1), dims="chw"),
        case("chw_no_affine", (2, 3, 9, 7), dims="chw", elementwise_affine=False),
        case("chw_no_bias", (2, 3, 4, 5), dims="chw", bias=False),
        case("chw_shifted", (3, 4, 5, 7), dims="chw", scale=2.0, shift=5.0),
        case("last_matrix", (5, 67), dims="last"),
        case("last_one_row", (1, 3), dims="last"),
        case("last_tokens", (3, 7, 19), dims="last", eps=1e-6),
        case("last_no_affine", (4, 33), dims="last", elementwise_affine=False),
        case("last_no_bias", (2, 5, 11), dims="last", bias=False),
        case("last_far_mean", (5, 65), dims="last", shift=100.0),
    ],
    "layer_norm2d": [
        case("plain", (3, 7, 5, 3)),
        case("one_pixel", (2, 5, 1, 1)),
        case("one_image", (1, 17, 9, 7)),
        case("odd_channels", (2, 67, 3, 5)),
        case("args", (2, 6, 5, 3), eps=1e-2),
        case("no_affine", (2, 5, 3, 7), affine=False),
        case("shifted", (2, 9, 5, 4), scale=2.0, shift=5.0),
    ],
    "group_norm": [
        case("groups2", (3, 6, 5, 7), num_groups=2),
        case("one_group", (2, 5, 7, 3), num_groups=1),
        case("group_per_channel", (2, 5, 3, 7), num_groups=5),
        case("one_pixel", (3, 12, 1, 1), num_groups=3),
        case("one_image", (1, 15, 9, 11), num_groups=3, eps=1e-3),
        case("no_affine", (2, 8, 5, 3), num_groups=4, affine=False),
        case("odd_channels", (2, 34, 5, 7), num_groups=2),
        case("far_mean", (2, 6, 7, 5), num_groups=3, shift=100.0),
    ],
    "instance_norm": [
        case("plain", (3, 5, 7, 9)),
        case("affine", (2, 3, 5, 7), affine=True),
        case("one_image", (1, 1, 3, 5)),
        case("small", (4, 7, 1, 3), affine=True),
        case("args", (2, 4, 9, 11), eps=1e-3, affine=True),
        case("shifted", (2, 3, 8, 7), scale=2.0, shift=5.0),
    ],
    "relu": activation(0.0),
    "relu6": activation(0.0, 6.0),
    "leaky_relu": activation(0.0)
    + [case("slope", (3, 5, 3, 2), draw=away_from(0.0), negative_slope=0.2)],
    "elu": activation(0.0)
    + [case("alpha", (3, 5, 3, 2), draw=away_from(0.0), alpha=0.5)],
    "gelu": activation()
    + [
        case("tanh", (3, 5, 3, 7), scale=2.0, approximate="tanh"),
        case("tanh_wide", (2, 65), scale=40.0, approximate="tanh"),
    ],
    "silu": activation(),
    "hardswish": activation(-3.0, 3.0),
    "hardsigmoid": activation(-3.0, 3.0),
    "sigmoid": activation(),
    "tanh": activation(),
    "softplus": activation(20.0)
    + [case("args", (3, 5, 3, 7), draw=away_from(1.0), scale=2.0, beta=2.0, threshold=2.0)],
    "add": BROADCASTS,
    "mul": BROADCASTS,
    "concat": [
        case("two", (2, 3, 5, 7), (2, 4, 5, 7)),
        case("three", (3, 1, 3, 5), (3, 17, 3, 5), (3, 6, 3, 5)),
        case("one_pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
        case("matrices", (3, 5), (3, 7)),
    ],
    "dropout": [
        case("image", (2, 3, 5, 7), mode="eval"),
        case("row", (3, 17), mode="eval", p=0.25),
    ],
    "cross_entropy": [
        entropy("plain", (8, 10)),
        entropy("one_row", (1, 3)),
        entropy("one_class", (5, 1)),
        entropy("many_rows", (131, 7)),
        entropy("many_classes", (3, 259)),
        entropy("sum", (9, 11), reduction="sum"),
        entropy("large_logits", (7, 13), scale=100.0),
        entropy("smoothing", (9, 10), label_smoothing=0.1),
        entropy("smoothing_sum", (5, 7), label_smoothing=0.3, reduction="sum"),
        entropy("weight", (9, 4), weight=[0.5, 2.0, 1.0, 0.25]),
        entropy("weight_sum", (7, 3), weight=[0.5, 2.0, 1.5], reduction="sum"),
        entropy("weight_smoothing", (9, 4), weight=[0.5, 2.0, 1.0, 0.25], label_smoothing=0.2),
        entropy("ignore", (10, 5), ignored=-100),
        entropy("ignore_index", (10, 5), ignored=2, ignore_index=2),
        entropy("ignore_smoothing", (11, 6), ignored=-100, label_smoothing=0.1),
        entropy("ignore_weight", (11, 3), ignored=1, ignore_index=1, weight=[0.5, 2.0, 1.5]),
        entropy("ignore_sum", (8, 5), ignored=-100, reduction="sum"),
        entropy("probabilities", (6, 9), target=probabilities),
        entropy("probabilities_sum", (5, 17), target=probabilities, reduction="sum"),
        entropy("probabilities_smoothing", (7, 5), target=probabilities, label_smoothing=0.1),
        entropy("probabilities_weight", (7, 3), target=probabilities, weight=[0.5, 2.0, 1.5]),
    ],
    "mse": [
        loss("matrix", (7, 13)),
        loss("one", (1, 1)),
        loss("image", (2, 3, 5, 7)),
        loss("sum", (9, 33), reduction="sum"),
    ],
    "bce_with_logits": [
        loss("labels", (7, 13), target=zero_or_one),
        loss("one", (1, 1), target=zero_or_one),
        loss("probabilities", (9, 5), target=probabilities),
        loss("sum", (5, 33), target=zero_or_one, reduction="sum"),
        loss("pos_weight", (8, 3), target=zero_or_one, pos_weight=[0.5, 2.0, 3.0]),
        loss("image", (2, 3, 5, 7), target=zero_or_one),
        case("wide", (3, 65), (3, 65), draw=[normal, zero_or_one], scale=60.0),
    ],
    "smooth_l1": [
        loss("matrix", (7, 13)),
        loss("one", (1, 1)),
        loss("beta", (5, 17), beta=0.3),
        loss("image_sum", (2, 3, 5, 7), reduction="sum", beta=2.0),
    ],
}

# ---- Running a case --------------------------------------------------------------------


def module_of(op, case):
    if op in FUNCTIONS:
        return Function(op, case["args"])
    return build({op: case["args"]}, case["shapes"][0])


def randomise(module, generator):
    """Random parameters and running statistics, so that none is a special value."""
    dense = isinstance(module, (nn.Conv2d, nn.Linear))
    for name, p in module.named_parameters():
        if dense and name == "weight":
            p.data = normal(p.shape, generator, scale=p[0].numel() ** -0.5)
        else:
            p.data = normal(p.shape, generator, scale=0.5, shift=float(name == "weight"))
    for name, b in state_of(module).items():
        b.data = normal(b.shape, generator)
        if "var" in name:
            b.data = b.data.abs() + 0.5


def state_of(module):
    return {n: b for n, b in module.named_buffers() if n.startswith("running_")}


def draw_inputs(case, generator):
    draws = case["draw"] if isinstance(case["draw"], list) else [case["draw"]]
    draws = draws + [normal] * (len(case["shapes"]) - len(draws))
    options = [case["options"]] + [{}] * (len(draws) - 1)
    return [d(s, generator, **o) for d, s, o in zip(draws, case["shapes"], options)]


def differentiable(op, inputs):
    return inputs[:1] if op in LOSSES else inputs


def evaluate(op, module, inputs, grad_output, dtype, change=lambda x: x):
    """One forward and backward pass in `dtype`; returns the wanted tensors.

    `change` is applied to every number given, after the conversion to `dtype`.
    """
    convert = lambda x: change(x.to(dtype)) if x.is_floating_point() else x
    module = copy.deepcopy(module)
    for tensor in [*module.parameters(), *state_of(module).values()]:
        tensor.data = convert(tensor.data)
    inputs = [convert(x).detach().clone() for x in inputs]
    for x in differentiable(op, inputs):
        x.requires_grad_()
    output = module(*inputs)
    output.backward(convert(grad_output))
    want = {"output": output}
    want |= {f"grad.input.{i}": x.grad for i, x in enumerate(differentiable(op, inputs))}
    want |= {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    if module.training:
        want |= {f"state.{name}": b for name, b in state_of(module).items()}
    return {f"want.{name}": tensor.detach().double() for name, tensor in want.items()}


def run_case(op, case):
    """The tensors of one case and its entry in the metadata."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{op}/{case['id']}".encode()))
    module = module_of(op, case)
    randomise(module, generator)
    module.train(case["mode"] == "train")
    inputs = draw_inputs(case, generator)
    shape = copy.deepcopy(module)(*inputs).shape
    grad_output = case["grad"](shape, generator)

    run = lambda dtype, **k: evaluate(op, module, inputs, grad_output, dtype, **k)
    noise = lambda x: disturbed(x, 2.0**-24, generator)
    want, others = run(torch.float64), [run(torch.float32)]
    if case["draw"] is not small_integers:  # which are exact, and must stay tied
        others += [run(torch.float64, change=noise) for _ in range(3)]

    tensors = {f"input.{i}": x for i, x in enumerate(inputs)}
    tensors |= {f"param.{name}": p for name, p in module.named_parameters()}
    tensors |= {f"state.{name}": b for name, b in state_of(module).items()}
    tensors |= {"grad_output": grad_output} | want
    atol = tolerances(want, others, SAFETY)
    entry = {
        "id": case["id"],
        "op": op,
        "args": case["args"],
        "mode": case["mode"],
        "inputs": [f"input.{i}" for i in range(len(inputs))],
        "atol": atol,
    }
    return {f"{case['id']}/{name}": tensor for name, tensor in tensors.items()}, entry


def write(directory):
    for op, cases in CASES.items():
        assert op in FUNCTIONS or op in LAYERS, op
        assert len({case["id"] for case in cases}) == len(cases), op
        tensors, entries = {}, []
        for case in cases:
            case_tensors, entry = run_case(op, case)
            tensors |= case_tensors
            entries.append(entry)
        path = directory / "operators" / f"{op}.safetensors"
        save(path, tensors, {"cases": json.dumps(entries)})
