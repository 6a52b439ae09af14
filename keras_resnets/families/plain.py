"""Plain nets: the residual nets of He et al. 2015 without their shortcuts."""

from keras_resnets.families.residual import ResNetSpec
from keras_resnets.families.resnet import cifar_spec
from keras_resnets.registry import register
from keras_resnets.variant import Spec, Variant


def _plain(
    name: str, spec: Spec, table: str, input_shape: tuple[int, int, int] = (224, 224, 3), classes: int = 1000
) -> Variant:
    reference = f"He et al. 2015, arXiv:1512.03385, {table}"
    return register(Variant(name, spec, reference, input_shape, classes, fixed=("shortcut",)))


def _cifar(depth: int) -> Variant:
    return _plain(f"Plain{depth}", cifar_spec(depth, "none"), "section 4.2 and Fig. 6", (32, 32, 3), 10)


Plain18 = _plain("Plain18", ResNetSpec(depths=(2, 2, 2, 2), shortcut="none"), "Table 2")
Plain34 = _plain("Plain34", ResNetSpec(depths=(3, 4, 6, 3), shortcut="none"), "Table 2 and Fig. 3")

Plain20 = _cifar(20)
Plain32 = _cifar(32)
Plain44 = _cifar(44)
Plain56 = _cifar(56)
Plain110 = _cifar(110)
