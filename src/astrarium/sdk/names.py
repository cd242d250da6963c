"""What `import astrarium as ar` offers, in one list."""

from __future__ import annotations

from ..config import load_config
from .builds.claim import Claim
from .builds.entry import build, build_aio
from .builds.summary import BuildFailed, BuildStatus, BuildSummary, TaskCount
from .registry.api import APIRegistry
from .registry.entry import default_registry
from .registry.noop import NoOpRegistry
from .registry.port import Registry
from .session import AsyncSession, Session
from .target.root import target_root, target_roots, use_target_roots
from .target.serializer import CsvSerializer, JsonSerializer, PickleSerializer, Serializer, TextSerializer
from .target.target import DirectoryTarget, Target
from .task.alias import AliasedMetadata, AliasTask
from .task.artifact import FileArtifact, ImageArtifact, JSONArtifact, MarkdownArtifact
from .task.function import task
from .task.kind import auto_namespace, namespace
from .task.model import Field, HashableSet, HashSafeSetSerializer, Model
from .task.reference import Depends, Polymorphic, SubClass, TaskLoads
from .task.task import Task, TaskStruct, tasks_in

__all__ = [
    "APIRegistry",
    "AliasTask",
    "AliasedMetadata",
    "AsyncSession",
    "BuildFailed",
    "BuildStatus",
    "BuildSummary",
    "Claim",
    "CsvSerializer",
    "Depends",
    "DirectoryTarget",
    "Field",
    "FileArtifact",
    "HashSafeSetSerializer",
    "HashableSet",
    "ImageArtifact",
    "JSONArtifact",
    "JsonSerializer",
    "MarkdownArtifact",
    "Model",
    "NoOpRegistry",
    "PickleSerializer",
    "Polymorphic",
    "Registry",
    "Serializer",
    "Session",
    "SubClass",
    "Target",
    "Task",
    "TaskCount",
    "TaskLoads",
    "TaskStruct",
    "TextSerializer",
    "auto_namespace",
    "build",
    "build_aio",
    "default_registry",
    "load_config",
    "namespace",
    "target_root",
    "target_roots",
    "task",
    "tasks_in",
    "use_target_roots",
]
