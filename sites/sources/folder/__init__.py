"""Any data of the user's own: ROOT/<site>/{images,masks}/<case>.<ending>, and optionally ROOT/cases.csv.

That is the layout `plain`; `saml` and `dofe` are public data sets as they are handed out (see public.py).

Endings: png, tif, tiff, nii, nii.gz, nrrd, dcm, or a folder of dcm files; an image and its mask share a name, not
necessarily a format. cases.csv has the columns site, case, patient, acquired, split (train or test), of which site
and case are obligatory; where it exists, cases that it does not name are left out. A patient is its site's own: the
same name at two sites is two patients.
"""

from __future__ import annotations

from sites.errors import SourceError
from sites.sources.folder.checking import Checked, check, surveyed
from sites.sources.folder.config import FolderConfig
from sites.sources.folder.faults import Fault, raise_serious
from sites.sources.folder.layout import Entry
from sites.sources.folder.preparing import prepare
from sites.stream import Case, Shape, SourceKind

__all__ = ["SOURCE", "Checked", "Fault", "Folder", "FolderConfig", "check", "open_folder"]


class Folder:
    """The cases of a data folder, read from disk whenever they are asked for."""

    def __init__(self, config: FolderConfig, entries: tuple[Entry, ...]) -> None:
        self._config = config
        self._entries = entries

    @property
    def shape(self) -> Shape:
        config = self._config
        return Shape(
            channels=config.channels,
            height=config.size,
            width=config.size,
            slices=config.slices,
            structures=tuple(config.structures),
        )

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.site for entry in self._entries))

    def train(self, site: str, first: int, count: int) -> tuple[Case, ...]:
        """Return training cases number `first` to `first + count - 1` of a site, by date of acquisition, then name.

        Raises:
            SourceError: the site is unknown or has fewer cases, or a file of theirs can't be used
        """
        entries = self._of(site, held_out=False)
        if first + count > len(entries):
            raise SourceError(
                f"{self._config.root / site}: asked for training cases {first} to {first + count - 1}, but there are "
                f"{len(entries)}; ask for fewer in the schedule, add cases, or lower held_out"
            )
        return tuple(prepare(entry, self._config) for entry in entries[first : first + count])

    def held_out(self, site: str, count: int) -> tuple[Case, ...]:
        """Return the first `count` held-out cases of a site, or all where it has fewer.

        Raises:
            SourceError: the site is unknown or holds none out, or a file of theirs can't be used
        """
        entries = self._of(site, held_out=True)
        if not entries:
            raise SourceError(f"{self._config.root / site}: no case is held out; give cases.csv some with split test")
        return tuple(prepare(entry, self._config) for entry in entries[:count])

    def _of(self, site: str, *, held_out: bool) -> list[Entry]:
        if site not in self.sites:
            raise SourceError(f"{self._config.root}: there is no site {site!r}; it holds {', '.join(self.sites)}")
        return [entry for entry in self._entries if entry.site == site and entry.held_out == held_out]


def open_folder(_task: str, config: FolderConfig, _seed: int) -> Folder:
    """Open a data folder; reads names and cases.csv, no image.

    The task's name is the user's own, and nothing here is random.

    Raises:
        SourceError: the root is missing, or its layout or cases.csv leaves open what a case is
    """
    found = surveyed(config)
    raise_serious(found.faults, config.check_command)
    if not found.entries:
        raise SourceError(f"{config.root}: no case has both an image and a mask; see `{config.check_command}`")
    return Folder(config, found.entries)


SOURCE = SourceKind(config=FolderConfig, open=open_folder)
