"""The settings of a data folder: how its files become the cases of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Range = Annotated[str, StringConstraints(pattern=r"^\d{1,5}-\d{1,5}$")]


class FolderConfig(BaseModel):
    """Where the data are, and how they become cases.

    root: the folder that holds one folder per site
    layout: how files lie in it: `plain` for ROOT/<site>/{images,masks}/<case>.<ending>, or a public data set as it is
        handed out: `saml` (prostate MRI of six sites) or `dofe` (fundus photographs of four)
    size: rows and columns of an image. An image is padded with black to a square in millimetres, so that no anatomy
        is lost and pixels come out square, and resampled: bilinear with antialiasing; masks to the nearest pixel
    channels: 1 (colour becomes luminance) or 3 (grey is repeated)
    structures: the values in the mask files that belong to each structure, as a list or as a range such as 0-50; a
        value may belong to several, so that {cup: [1], disc: [1, 2]} puts the cup inside the disc. `any` stands for
        all but the background
    background: the value that belongs to no structure
    axis: of a volume that knows its orientation, the axis across its slices: 0 sagittal, 1 coronal, 2 axial.
        Stacks without orientation (pages of a TIFF) are taken slice by slice as stored
    slices: the most slices that a case contributes, spread evenly over those whose mask is not empty
    held_out: share of a site's patients that is held out, where neither cases.csv nor the layout says which
    percentiles: of a volume's intensities that become 0 and 1; 8-bit colour is divided by 255 instead
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Field(default=Path(), validate_default=True)
    layout: Literal["plain", "saml", "dofe"] = "plain"
    size: int = Field(default=96, ge=16, le=1024)
    channels: Literal[1, 3] = 1
    structures: dict[str, tuple[int, ...] | Range | Literal["any"]] = Field(default={"structure": "any"}, min_length=1)
    background: int = 0
    axis: Literal[0, 1, 2] = 2
    slices: int = Field(default=16, ge=1)
    held_out: float = Field(default=0.25, gt=0.0, lt=1.0)
    percentiles: tuple[float, float] = (1.0, 99.0)

    @property
    def values(self) -> dict[str, tuple[int, ...] | Literal["any"]]:
        """The values of each structure, ranges written out."""
        return {name: _listed(given) for name, given in self.structures.items()}

    @property
    def check_command(self) -> str:
        """The command that lists every fault of the root."""
        return f"wardround sites check {self.root}" + ("" if self.layout == "plain" else f" --set layout={self.layout}")

    @field_validator("root")
    @classmethod
    def _is_given(cls, root: Path) -> Path:
        if root == Path():
            raise ValueError("is not set; say where the data are, such as --set source.root=/data/mine")
        return root

    @field_validator("percentiles")
    @classmethod
    def _ascending(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= pair[0] < pair[1] <= 100.0:
            raise ValueError("give two percentiles between 0 and 100, the lower one first")
        return pair

    @model_validator(mode="after")
    def _structures_hold_values(self) -> Self:
        for name, values in self.values.items():
            if not values:
                raise ValueError(f"structures: {name} has no value; list its values in the mask files, or write `any`")
            if values != "any" and self.background in values:
                raise ValueError(
                    f"structures: {name} lists {self.background}, which is the background; "
                    "set `background` to the value that belongs to no structure"
                )
        return self


def _listed(given: tuple[int, ...] | str) -> tuple[int, ...] | Literal["any"]:
    if given == "any":
        return "any"
    if isinstance(given, tuple):
        return given
    first, last = map(int, given.split("-"))
    return tuple(range(first, last + 1))
