"""Where a model comes from: a file, a folder, or a repository of the Hugging Face hub."""

import re
from pathlib import Path

MODELS = ("best.keras", "last.keras")  # of a folder, the first that is there
HUB = re.compile(r"hf:/{1,2}(.*)")  # a `Path` keeps one slash of two
_NAME = r"[\w.-]+/[\w.-]+"
_REPOSITORY = re.compile(rf"({_NAME})(?:@([^/@]+))?(?:/(.+\.keras))?/?", re.ASCII)
_WEB = re.compile(
    rf"https?:/+(?:www\.)?huggingface\.co/(?!datasets/|spaces/|docs/)({_NAME})", re.ASCII
)


def locate(source):
    """Return the path of the file that a source stands for; a hub's repository is downloaded.

    Args:
        source: a file; a folder with best.keras, last.keras or a single .keras file; or
            "hf://USER/NAME", also "hf://USER/NAME@REVISION" and "hf://USER/NAME/FILE.keras".

    Raises:
        FileNotFoundError: there is no .keras file in the folder or repository.
        ValueError: there are several, the source is no repository's name, or huggingface_hub is
            not installed.
        ConnectionError: the repository cannot be fetched.
    """
    if repository := HUB.fullmatch(str(source)):
        return _from_hub(repository[1])
    if page := _WEB.match(str(source)):
        raise ValueError(f"{source} is a page; give the repository, hf://{page[1]}.")
    path = Path(source)
    return _model_in(path, str(path)) if path.is_dir() else path


def check_repository(name):
    """Raise ValueError unless the name looks like a repository's on the hub, USER/NAME."""
    if not re.fullmatch(_NAME, name, re.ASCII):
        raise ValueError(f"{name!r} is no name of a repository; give USER/NAME.")


def beside(path, source, name):
    """Return where a file on a model goes: beside it, but not into the cache of a hub.

    Args:
        path: of the model.
        source: what it was located by; for a hub's repository it is the current folder.
        name: of the file.
    """
    return Path(name) if HUB.fullmatch(str(source)) else path.with_name(name)


def _model_in(folder, shown):
    for name in MODELS:
        if (folder / name).is_file():
            return folder / name
    names = sorted(path.name for path in folder.glob("*.keras") if not path.name.startswith("."))
    if not names:
        raise FileNotFoundError(
            f"{shown} holds no .keras file; give the folder of a run, or of a model that "
            "`gff-keras train` wrote."
        )
    if len(names) > 1:
        raise ValueError(
            f"{shown} holds {', '.join(names)} and no {MODELS[0]}; name one: {shown}/{names[0]}."
        )
    return folder / names[0]


def _from_hub(repository):
    shown = f"hf://{repository}"
    parts = _REPOSITORY.fullmatch(repository)
    if not parts:
        raise ValueError(
            f"{shown} is no repository; give hf://USER/NAME, hf://USER/NAME@TAG or "
            "hf://USER/NAME/FILE.keras."
        )
    name, revision, file = parts.groups()
    folder = _download(shown, name, revision)
    if file is None:
        return _model_in(folder, shown.rstrip("/"))
    if not (folder / file).is_file():
        raise FileNotFoundError(f"{shown}: the repository holds no {file}.")
    return folder / file


def _download(shown, name, revision):
    """The folder in the hub's own cache, which serves without network what was fetched before."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise ValueError(
            f'{shown} needs the package huggingface_hub: pip install "gff-keras[hub]", or download '
            "the repository yourself and give its folder."
        ) from None
    try:
        patterns = ["*.keras", "*.json"]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except errors.HFValidationError as error:
        raise ValueError(f"{shown} is no repository; give hf://USER/NAME.") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{shown}: the hub shows no such repository or revision; check the name, and if it is "
            "private, log in with `hf auth login`."
        ) from error
    except Exception as error:  # its HTTP library's own, which differs between versions
        raise ConnectionError(
            f"{shown} cannot be fetched ({type(error).__name__}), and was not before: check the "
            "network, or give a folder that was downloaded elsewhere."
        ) from error
