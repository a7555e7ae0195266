"""Sixteen numbers at a time inside numba functions.

LLVM seldom vectorises the masked loops of a splatter by itself, so the kernels name their vectors: a ``Lanes`` value
is an LLVM vector of 16 floats (one AVX-512 register, two of AVX2, four of SSE or NEON), a ``Mask`` one of 16
booleans. ``+ - * /`` act per lane, ``< <= >`` and ``>=`` give a mask, ``&`` joins masks. All of it means something in
``njit`` functions only.
"""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model
from numpy.polynomial import Chebyshev, Polynomial

__all__ = ["EXP_LIMIT", "LANES", "any_lane", "beyond", "exp_negative", "fma", "least", "load", "lowest_bit", "prefetch"]
__all__ += ["select", "splat", "store", "sums_within", "totals"]

LANES = 16
EXP_LIMIT = 5.6  # exp(-5.6) < 1/255
_I32 = ir.IntType(32)


class Lanes(types.Type):
    """A vector of ``LANES`` floats of type ``dtype``."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(f"Lanes({dtype})")


class Mask(types.Type):
    """A vector of ``LANES`` booleans."""

    def __init__(self) -> None:
        super().__init__("Mask")


_MASK = Mask()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), LANES))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Mask) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), LANES))


def _address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Return a pointer to the vector at ``args[1]`` of the one-dimensional array ``args[0]``."""
    array = signature.args[0]
    data = context.make_array(array)(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), context.get_value_type(Lanes(array.dtype)).as_pointer())


@intrinsic
def load(typing_context, array, index):
    """Read 16 consecutive elements of a flat array; the index is not checked."""

    def generate(context, builder, signature, args):
        value = builder.load(_address(context, builder, signature, args))
        value.align = array.dtype.bitwidth // 8
        return value

    return Lanes(array.dtype)(array, types.intp), generate


@intrinsic
def store(typing_context, array, index, value):
    """Write 16 consecutive elements of a flat array; the index is not checked."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _address(context, builder, signature, args)).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def splat(typing_context, value):
    """Return the same float in every lane."""

    def generate(context, builder, signature, args):
        undefined = ir.Constant(context.get_value_type(Lanes(value)), ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(_I32, 0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))

    return Lanes(value)(value), generate


@intrinsic
def select(typing_context, mask, yes, no):
    """Return ``yes`` where the mask is set, ``no`` elsewhere."""

    def generate(context, builder, signature, args):
        return builder.select(*args)

    return yes(mask, yes, no), generate


@intrinsic
def fma(typing_context, a, b, c):
    """Return a * b + c, with one rounding if the processor supports it."""

    def generate(context, builder, signature, args):
        kind = args[0].type
        name = f"llvm.fmuladd.v{LANES}f{a.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name), args)

    return a(a, b, c), generate


@intrinsic
def any_lane(typing_context, mask):
    """Return whether the mask is set anywhere."""

    def generate(context, builder, signature, args):
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), ir.Constant(bits, 0))

    return types.boolean(mask), generate


@intrinsic
def totals(typing_context, vectors):
    """Return the lane sums of up to 16 vectors, a tuple, as the lanes of one vector.

    Lanes without a vector are 0.

    Each is halved pairwise, so the order is the same on every machine. Two vectors share each halving.
    """
    kind = vectors.dtype

    def generate(context, builder, signature, args):
        values = [builder.extract_value(args[0], n) for n in range(len(vectors))]
        values += [ir.Constant(values[0].type, [0] * LANES)] * (LANES - len(values))
        width = LANES
        while len(values) > 1:
            width //= 2
            starts = range(0, 2 * LANES, 2 * width)
            low, high = (
                ir.Constant(ir.VectorType(_I32, LANES), [s + half + n for s in starts for n in range(width)])
                for half in (0, width)
            )
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [builder.fadd(builder.shuffle_vector(*p, low), builder.shuffle_vector(*p, high)) for p in pairs]
        return values[0]

    return kind(vectors), generate


@intrinsic
def sums_within(typing_context, values, limit):
    """Return 64 bits: bit 8 r + c tells whether values[c] + values[8 + r] <= limit."""

    def generate(context, builder, signature, args):
        values, limit = args
        columns = ir.Constant(ir.VectorType(_I32, LANES), list(range(8)) * 2)
        columns = builder.shuffle_vector(values, values, columns)
        bits = ir.Constant(ir.IntType(64), 0)
        for row in range(0, 8, 2):
            rows = ir.Constant(ir.VectorType(_I32, LANES), [8 + row] * 8 + [9 + row] * 8)
            total = builder.fadd(columns, builder.shuffle_vector(values, values, rows))
            within = builder.bitcast(builder.fcmp_ordered("<=", total, limit), ir.IntType(LANES))
            shifted = builder.shl(builder.zext(within, bits.type), ir.Constant(bits.type, 8 * row))
            bits = builder.or_(bits, shifted)
        return bits

    return types.int64(values, values), generate


@intrinsic
def prefetch(typing_context, array, index):
    """Ask for the cache line of an element that will soon be read.

    The index is not checked.
    """

    def generate(context, builder, signature, args):
        address = builder.bitcast(_address(context, builder, signature, args), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, *(ir.Constant(_I32, n) for n in (0, 3, 1))])  # to read, keep it, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _operator(function: Callable[..., Any], kind: type[types.Type], emit: Callable[..., Any], mask: bool) -> None:
    """Give an operator of Python a meaning between two vectors of one kind."""

    @intrinsic
    def vector_operator(typing_context, a, b):
        def generate(context, builder, signature, args):
            return emit(builder, *args)

        return (_MASK if mask else a)(a, b), generate

    @overload(function)
    def typed(a, b):
        if isinstance(a, kind) and isinstance(b, kind):
            return lambda a, b: vector_operator(a, b)
        return None


_operator(operator.add, Lanes, lambda builder, a, b: builder.fadd(a, b), False)
_operator(operator.sub, Lanes, lambda builder, a, b: builder.fsub(a, b), False)
_operator(operator.mul, Lanes, lambda builder, a, b: builder.fmul(a, b), False)
_operator(operator.truediv, Lanes, lambda builder, a, b: builder.fdiv(a, b), False)
_operator(operator.lt, Lanes, lambda builder, a, b: builder.fcmp_ordered("<", a, b), True)
_operator(operator.le, Lanes, lambda builder, a, b: builder.fcmp_ordered("<=", a, b), True)
_operator(operator.gt, Lanes, lambda builder, a, b: builder.fcmp_ordered(">", a, b), True)
_operator(operator.ge, Lanes, lambda builder, a, b: builder.fcmp_ordered(">=", a, b), True)
_operator(operator.and_, Mask, lambda builder, a, b: builder.and_(a, b), True)


@intrinsic
def least(typing_context, a, b):
    """Return the smaller of two, per lane; ``b`` if ``a`` is not a number."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), generate


@intrinsic
def beyond(typing_context, x, reach):
    """Return max(|x| - reach, 0), per lane."""

    def generate(context, builder, signature, args):
        value, zero = args[0], ir.Constant(args[0].type, [0] * LANES)
        size = builder.select(builder.fcmp_ordered("<", value, zero), builder.fsub(zero, value), value)
        rest = builder.fsub(size, args[1])
        return builder.select(builder.fcmp_ordered("<", rest, zero), zero, rest)

    return x(x, reach), generate


@intrinsic
def exp_negative(typing_context, x):
    """Return exp(-min(x, 5.6)) for x >= 0.

    A polynomial for exp(-x / 16), squared four times. The relative error stays below 5e-6 in single and 1e-12 in double
    precision.
    """
    degree = 4 if x.dtype.bitwidth == 32 else 8
    fit = Chebyshev.interpolate(lambda x: np.exp(-x / 16), degree, domain=[0, EXP_LIMIT])
    coefficients = fit.convert(kind=Polynomial).coef.tolist()

    def generate(context, builder, signature, args):
        kind = args[0].type
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{LANES}f{x.dtype.bitwidth}"
        )
        constant = [ir.Constant(kind, [value] * LANES) for value in coefficients]
        limit = ir.Constant(kind, [EXP_LIMIT] * LANES)
        y = builder.select(builder.fcmp_ordered("<", args[0], limit), args[0], limit)
        result = constant[degree]
        for n in range(degree - 1, -1, -1):
            result = builder.call(multiply_add, [y, result, constant[n]])
        for _ in range(4):
            result = builder.fmul(result, result)
        return result

    return x(x), generate


@intrinsic
def lowest_bit(typing_context, bits):
    """Return number of the lowest bit that is set in an integer other than 0."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return bits(bits), generate
