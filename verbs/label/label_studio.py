"""Questions to Label Studio, votes from it, as often as wanted: `label.py tool=label-studio url=URL path=FILE`."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any, TypedDict

from rlhf.config import LabelConfig
from rlhf.config.endpoint import api_key
from rlhf.config.verbs.label import LONGEST_TITLE
from rlhf.errors import ConfigError, DataError
from rlhf.labelling.label_studio_tasks import interface, misses, question_in, task_data
from rlhf.labelling.label_studio_votes import SKIPPED, UNCLEAR, UNDECIDED, changes, people, person_of, read_tasks
from rlhf.labelling.questions import Question, ordered
from rlhf.labelling.results import differing
from rlhf.labelling.vote_log import Line, VoteLog, standing
from rlhf.runs.files import atomic_write_json
from rlhf.storage.disk import reason_of
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.shapes import fits
from verbs.label.label import check_folder, export, folder_of
from verbs.label.label_studio_api import BATCH, LabelStudio
from verbs.label.reading import questions_in

STATE = "label_studio.json"
EVERYBODY = 1000
"""Annotations of a task after which Label Studio shows it to nobody else, where `votes_per_question` is not set."""

log = logging.getLogger("rlhf")


class Project(TypedDict):
    """`sent`: the questions whose tasks it once had."""

    id: int
    sent: list[str]


class State(TypedDict):
    """What is remembered beside the votes: the projects by task, and what annotators are called, by their numbers."""

    url: str
    projects: dict[str, Project]
    people: dict[str, str]


def run_label_studio(config: LabelConfig) -> None:
    """Send what the server lacks, take what the log lacks, and write the training data.

    Raises:
        UserError: a file or the server can't be used.
    """
    assert config.url is not None
    folder = folder_of(config)
    check_folder(folder)
    questions = ordered(questions_in(Path(str(config.path)), config.task, config.seed), config.seed)
    server = LabelStudio(config.url, api_key("", config.key_env), config.key_env)
    log.info("%s: Label Studio %s", server.url, server.version())
    votes = VoteLog(folder)
    try:
        Exchange(config, server, folder, votes, read_state(folder, server.url)).run(questions)
    except OSError as error:
        raise ConfigError(f"out: {folder} can't be written: {reason_of(error)}") from error
    finally:
        votes.close()
    export(config, folder)


def read_state(folder: Path, url: str) -> State:
    """What an earlier run left beside the votes.

    Raises:
        ConfigError: it was of another server. DataError: it can't be read.
    """
    path = folder / STATE
    if not path.exists():
        return {"url": url, "projects": {}, "people": {}}
    try:
        found = read_json(path)
    except (OSError, Unreadable) as error:
        raise DataError(f"{path}: can't be read: {error}") from error
    if not fits(found, State):
        raise DataError(f"{path}: is not a file of this program; delete it, and questions are sent to a new project")
    if found["url"] != url:
        raise ConfigError(
            f"url: {folder} holds votes from {found['url']}; pass another out=FOLDER, or, where the same server "
            f"has moved, write its new address into {path}"
        )
    return found


class Exchange:
    """One run."""

    def __init__(self, config: LabelConfig, server: LabelStudio, folder: Path, votes: VoteLog, state: State) -> None:
        self.config, self.server, self.folder, self.votes, self.state = config, server, folder, votes, state
        self.title = (config.project or folder.name)[:LONGEST_TITLE]
        self.users: list[dict[str, Any]] | None = None

    def run(self, questions: list[Question]) -> None:
        """Raises:
        UserError: as `run_label_studio`. OSError: a file can't be written.
        """
        kinds: dict[str, list[Question]] = {task: [] for task in self.state["projects"]}
        for question in questions:
            kinds.setdefault(question.task, []).append(question)
        log_lines = list(self.votes.lines)
        for task, mine in kinds.items():
            found = self._project(task, needed=bool(mine))
            if found is None:
                continue
            project, origin = self.state["projects"][task], f"{found['id']}:{found.get('created_at')}"
            tasks = self.server.tasks(project["id"])
            mine_here = {*project["sent"], *(question.id for question in mine)}
            asked = [(question_in(one.get("data")), one) for one in tasks]
            known = [(question, one) for question, one in asked if question is not None and question.id in mine_here]
            if len(known) < len(tasks):
                log.warning(
                    "%s: %d tasks are not of this labelling, or were changed there, and are left out",
                    self._name(project), len(tasks) - len(known),
                )  # fmt: skip
            self._take(project, origin, known, mine, log_lines)
            self._send(project, mine, {question.id for question, _ in known})
        several, differ = differing(standing(log_lines))
        if several:
            log.info(
                "%d questions were judged by several people, who differ about %d: python label.py agreement=%s",
                several, differ, self.folder,
            )  # fmt: skip

    def _project(self, task: str, needed: bool) -> dict[str, Any] | None:
        """The project of a task as the server has it, made if it is new; `None` where it was deleted and is not needed.

        Args:
            needed: there are questions for it.
        """
        known = self.state["projects"].get(task)
        if known is not None:
            found = self.server.project(known["id"])
            if found is None:
                said = f"{self.server.url} no longer has project {known['id']} ({task})"
                if needed:
                    raise ConfigError(
                        f"project: {said}; its votes stay in {self.folder}, and to send its questions to a new one "
                        f"delete {self.folder / STATE}"
                    )
                log.warning("%s; its votes stay", said)
                return None
        else:
            title = f"{self.title} {task}"
            found = next((one for one in self.server.projects() if one.get("title") == title), None)
            if found is None:
                found = self._make(title, task)
        if (lacks := misses(found.get("parsed_label_config"), task)) is not None:
            raise ConfigError(
                f"project: {found.get('title')} at {self.server.url} has a labelling configuration without {lacks}, "
                "and asks something else; pass another project=TITLE and out=FOLDER"
            )
        if known is None:
            known = self.state["projects"][task] = {"id": int(found["id"]), "sent": []}
            self._keep()
        wanted = self.config.votes_per_question
        if wanted is not None and found.get("maximum_annotations") != wanted:
            self.server.change(known["id"], maximum_annotations=wanted)
        return found

    def _make(self, title: str, task: str) -> dict[str, Any]:
        return self.server.create(
            title=title,
            description="Made by label.py, which fetches the annotations. Tags and data keep their names.",
            label_config=interface(task, self.config.language),
            maximum_annotations=self.config.votes_per_question or EVERYBODY,
            show_skip_button=True,
            # Of a pair it would say nothing. An order that nobody moved is empty on the page, and sent all the same.
            enable_empty_annotation=task == "ranking",
            sampling="Sequential sampling",
        )

    def _take(
        self,
        project: Project,
        origin: str,
        known: list[tuple[Question, dict[str, Any]]],
        mine: list[Question],
        lines: list[Line],
    ) -> None:
        """Append what is new to the log, and to `lines`; `origin` says which project it is, of whatever server."""
        annotations = [one for _, task in known for one in task.get("annotations") or () if isinstance(one, dict)]
        names = self._names({person_of(one) for one in annotations})
        # Who wrote an answer, if a file says so, is known here alone.
        asked = {question.id: question for question in mine}
        known = [(asked.get(question.id, question), task) for question, task in known]
        left_out: Counter[str] = Counter()
        present = {question.id for question, _ in known}
        found = changes(lines, read_tasks(origin, known, names, left_out), origin, present)
        for line in found.lines:
            self.votes.append(line)
            lines.append(line)  # type: ignore[arg-type]
        if annotations:
            log.info(
                "%s: %d annotations, of which %d skipped, %d without a choice, %d contradictory or incomplete; %d are "
                "new, %d changed, %d taken back",
                self._name(project), len(annotations), left_out[SKIPPED], left_out[UNDECIDED], left_out[UNCLEAR],
                found.new, found.changed, found.taken_back,
            )  # fmt: skip
        if gone := set(project["sent"]) - present:
            log.warning(
                "%s: %d tasks were deleted there; their votes stay, and they are not sent again",
                self._name(project), len(gone),
            )  # fmt: skip

    def _send(self, project: Project, questions: list[Question], present: set[str]) -> None:
        """Make tasks of the questions that never were one."""
        sent = set(project["sent"]) | present
        new = [question for question in questions if question.id not in sent]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self.server.send(
                project["id"], [task_data(question, self.config.seed, self.config.language) for question in batch]
            )
            sent |= {question.id for question in batch}
            project["sent"] = sorted(sent)
            self._keep()
        if not new:
            project["sent"] = sorted(sent)
            self._keep()
        log.info("%s: %d questions sent, %d were there", self._name(project), len(new), len(questions) - len(new))

    def _names(self, seen: set[int]) -> dict[int, str]:
        known = {int(number): name for number, name in self.state["people"].items() if number.isdigit()}
        if seen - known.keys():
            if self.users is None:
                self.users = self.server.users()
            known = people(self.users, known, seen)
            self.state["people"] = {str(number): name for number, name in known.items()}
            self._keep()
        return known

    def _name(self, project: Project) -> str:
        return f"{self.server.url}/projects/{project['id']}"

    def _keep(self) -> None:
        atomic_write_json(self.folder / STATE, self.state)
