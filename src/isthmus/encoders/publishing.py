"""A saved encoder goes to the model hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import InputError, NotFoundError, OutputError
from isthmus.options import Options, option

# As the hub has it: an owner and a name.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
# What is on this machine alone.
LEFT_OUT = ["checkpoints/*", ".*", "*.partial"]


@dataclass(frozen=True)
class PublishOptions(Options):
    """Where a result is published.

    Attributes:
        push_to_hub: Repository on the model hub that the result is uploaded to, ``OWNER/NAME``.
        private: Make a repository that only its owner sees.
    """

    push_to_hub: str | None = option(
        None, help="Upload the result to this repository of the model hub.", panel="Output", metavar="OWNER/NAME"
    )
    private: bool = option(False, help="Make a repository that only you see.", panel="Output")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.push_to_hub is not None:
            check_repository(self.push_to_hub)
        elif self.private:
            raise InputError("--private must come with --push-to-hub, got it alone; name a repository")


def check_repository(name: str) -> str:
    """Refuse what cannot be the id of a repository, before anything long begins.

    Raises:
        InputError: If it is not ``OWNER/NAME``.
    """
    if not REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise InputError(f"push_to_hub must be OWNER/NAME, got {name!r}; for example me/splade-ko")
    return name


def publish(folder: str | Path, repository: str, *, private: bool = False) -> str:
    """Upload the folder of an encoder to the model hub; the repository is made if it is not there.

    Args:
        folder: What ``save_pretrained`` or a command wrote.
        repository: ``OWNER/NAME``. The token is that of ``hf auth login`` or ``HF_TOKEN``; the hub is ``HF_ENDPOINT``.
        private: Make a repository that only its owner sees; one that is there stays as it is.

    Returns:
        Its address.

    Raises:
        InputError: If ``repository`` is no id.
        NotFoundError: If there is no encoder in the folder.
        OutputError: If the hub refuses or cannot be reached.

    Example:
        >>> publish("splade-ko", "me/splade-ko")  # doctest: +SKIP
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    check_repository(repository)
    folder = Path(folder)
    if not (folder / "modules.json").is_file():
        raise NotFoundError(f"{folder} must hold an encoder, got no modules.json there; save it first")
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Upload an encoder", ignore_patterns=LEFT_OUT
        )
    except LocalTokenNotFoundError as error:
        raise OutputError(f"{repository} cannot be written without a token; run: hf auth login") from error
    except Exception as error:
        # The hub's library lets the errors of its transport through, which is another one in every version.
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = " ".join(str(error).split())[:200]
        remedy = "run: hf auth login, with a token that may write there" if status in (401, 403) else "try again"
        raise OutputError(f"{repository} could not be uploaded ({reason}); {folder} is complete; {remedy}") from error
    return f"{api.endpoint}/{repository}"
