"""What survives: the history of events, durable before anything acts on it, and the state folded from it again."""

from scheduler.journal.memory import MemoryDisk, MemoryJournal
from scheduler.journal.replay import Replayed, checkpoint_image, replay
from scheduler.journal.store import SqlJournal, open_journal

__all__ = ["MemoryDisk", "MemoryJournal", "Replayed", "SqlJournal", "checkpoint_image", "open_journal", "replay"]
