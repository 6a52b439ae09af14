"""Plain nets: the residual nets of He et al. 2015 without their shortcuts."""

from keras_resnets.families.residual import ResNetSpec
from keras_resnets.families.resnet import cifar_spec
from keras_resnets.registry import register
from keras_resnets.spec import Spec
from keras_resnets.variant import CIFAR10, IMAGENET, DataSet, Error, Variant

_PAPER = "He et al. 2015, arXiv:1512.03385"


def _plain(name: str, spec: Spec, table: str, data: DataSet = IMAGENET, error: Error | None = None) -> Variant:
    return register(Variant(name, spec, f"{_PAPER}, {table}", data, error, fixed=("shortcut",)))


def _cifar(depth: int) -> Variant:
    return _plain(f"Plain{depth}", cifar_spec(depth, "none"), "section 4.2 and Fig. 6", CIFAR10)


Plain18 = _plain(
    "Plain18",
    ResNetSpec(depths=(2, 2, 2, 2), shortcut="none"),
    "Table 2",
    error=Error(27.94, f"ImageNet top-1, 10 crops, {_PAPER}, Table 2"),
)
Plain34 = _plain(
    "Plain34",
    ResNetSpec(depths=(3, 4, 6, 3), shortcut="none"),
    "Table 2 and Fig. 3",
    error=Error(28.54, f"ImageNet top-1, 10 crops, {_PAPER}, Table 2"),
)

Plain20 = _cifar(20)
Plain32 = _cifar(32)
Plain44 = _cifar(44)
Plain56 = _cifar(56)
Plain110 = _cifar(110)
