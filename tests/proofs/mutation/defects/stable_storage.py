"""What is brought to stable storage, and when."""

from mutant import Mutant

from defects.sources import (
    APPENDED,
    CATALOG_ON_DISK,
    CATALOG_VERSIONS,
    CHUNK_WRITER,
    CHUNKED,
    CREATION,
    DIRECTORY,
    DOCUMENT,
    OPEN_FOLDERS,
    PUBLISHING,
    RECORDER,
    REMOVAL,
    RUN_METHODS,
    SCOPE,
    SYNCING,
    SYSCALLS,
    WHOLE_RUN,
    WRITING,
)

_AT_LEVEL_STEP = "tests/stores/test_durability.py -k level_step_syncs_data_before"
_AFTER_THE_END = "tests/stores/test_durability.py -k syncs_what_changes_a_run_that_has_finished"
_SYNC = "tests/stores/test_durability.py -k syncing_a_run"
_DURABLE_DATA = """\
    if durable:
        syscalls.fsync(fd)
"""
_RENAMED = """\
        write_plain(folder, temporary, data, durable=durable)
        folder.syscalls.rename(temporary, file, folder.fd)
"""
_LINKED_UNNAMED = """\
        fill(syscalls, fd, data, durable=durable)
        is_whole = True
        syscalls.link_unnamed(fd, file, folder.fd)
"""
_LINKED_TEMPORARY = """\
        write_plain(folder, temporary, data, durable=durable)
        give_name(folder, temporary, file)
"""
_FOLDER_AFTER_PUBLISH = """\
    if durable:
        try:
            folder.sync_self()
"""
_FOLDER_AFTER_REPLACE = """\
        discard(folder, temporary)
        raise
    if durable:
"""
_CREATED_FOLDER = """\
        # If this fails the run stays, though nobody was told of it: others may have joined it by now.
        folders.sync_way_to(folder)
"""
_OPENED_FOLDER = """\
            # Whoever made the folder need not have come to making it durable, and what is in it is no better.
            self.sync_way_to(folder)
"""

MUTANTS = (
    Mutant("the data of a file is not synced", WRITING, _DURABLE_DATA, "", _AT_LEVEL_STEP),
    Mutant(
        "a folder is not synced after a file was published",
        PUBLISHING,
        _FOLDER_AFTER_PUBLISH,
        _FOLDER_AFTER_PUBLISH.replace("if durable", "if False"),
        "tests/stores/test_durability.py -k 'level_step_syncs_data_before and add'",
    ),
    Mutant(
        "a folder is not synced after a file was replaced",
        PUBLISHING,
        _FOLDER_AFTER_REPLACE,
        _FOLDER_AFTER_REPLACE.replace("if durable", "if False"),
        _AT_LEVEL_STEP,
    ),
    Mutant(
        "a folder is not synced after a journal was begun",
        APPENDED,
        "            self._folder.sync_self()\n",
        "",
        "tests/stores/test_durability.py -k each_line_of_a_journal",
    ),
    Mutant(
        "a file is synced after it was linked",
        PUBLISHING,
        _LINKED_UNNAMED,
        """\
        fill(syscalls, fd, data, durable=False)
        is_whole = True
        syscalls.link_unnamed(fd, file, folder.fd)
        syscalls.fsync(fd)
""",
        "tests/stores/test_durability.py -k 'level_step_syncs_data_before and unnamed and add'",
    ),
    Mutant(
        "a temporary file is linked before it was synced",
        PUBLISHING,
        _LINKED_TEMPORARY,
        _LINKED_TEMPORARY.replace("durable=durable", "durable=False"),
        "tests/stores/test_durability.py -k 'level_step_syncs_data_before and temporary and add'",
    ),
    Mutant(
        "a file is synced after it was renamed",
        PUBLISHING,
        _RENAMED,
        """\
        write_plain(folder, temporary, data, durable=False)
        folder.syscalls.rename(temporary, file, folder.fd)
        if durable:
            sync_files(folder, [file])
""",
        _AT_LEVEL_STEP,
    ),
    Mutant(
        "a failed fsync is passed over",
        WRITING,
        _DURABLE_DATA,
        """\
    if durable:
        try:
            syscalls.fsync(fd)
        except OSError:
            pass
""",
        "tests/stores/test_durability.py -k failed_fsync",
    ),
    Mutant(
        "a failed fsync is tried again",
        WRITING,
        _DURABLE_DATA,
        """\
    if durable:
        try:
            syscalls.fsync(fd)
        except OSError:
            syscalls.fsync(fd)
""",
        "tests/stores/test_durability.py -k failed_fsync",
    ),
    Mutant(
        "a failed fsync of a folder is passed over",
        PUBLISHING,
        """\
            if take_back:
                discard(folder, file)
            raise
""",
        "            pass\n",
        "tests/stores/test_durability.py -k 'failed_fsync and add'",
    ),
    Mutant(
        "the files of a new run are not synced",
        CREATION,
        "write_plain(handle, file, data, durable=durable)",
        "write_plain(handle, file, data, durable=False)",
        "tests/stores/test_durability.py -k every_folder_that_creating",
    ),
    Mutant(
        "the names of the files of a new run are not synced",
        CREATION,
        "            handle.sync_self()\n    except BaseException:",
        "            pass\n    except BaseException:",
        "tests/stores/test_durability.py -k before_it_has_its_name",
    ),
    Mutant(
        "the name of a new run is not synced",
        CREATION,
        _CREATED_FOLDER,
        "        pass\n",
        "tests/stores/test_durability.py -k every_folder_that_creating",
    ),
    Mutant(
        "of the folders above a new run only the next is synced",
        SYNCING,
        "        path = parent\n",
        "        return\n",
        "tests/stores/test_durability.py -k every_folder_that_creating",
    ),
    Mutant(
        "the folder of a run that another process has made is not synced",
        OPEN_FOLDERS,
        _OPENED_FOLDER,
        "            pass\n",
        "tests/proofs/test_crash_states.py -k another_process_has_made",
    ),
    Mutant(
        "once the folders above the runs were durable they are taken to be durable for ever",
        OPEN_FOLDERS,
        "if known is None or known.identity() != top.identity():",
        "if known is None:",
        "tests/stores/test_durability.py -k folders_that_were_made_anew",
    ),
    Mutant(
        "the removal of a run is not synced",
        DIRECTORY,
        '                self._folders.fresh("").sync_self()',
        "                pass",
        "tests/stores/test_durability.py -k that_a_run_was_removed",
    ),
    Mutant(
        "the removal of a file is not synced",
        REMOVAL,
        "            raise\n    if durable:\n        folder.sync_self()\n\n\ndef remove_unchanged",
        "            raise\n\n\ndef remove_unchanged",
        "tests/stores/test_durability.py -k that_a_run_was_removed",
    ),
    Mutant(
        "a run that has ended is not synced",
        RUN_METHODS,
        "if is_finished(log) and self.backend.durability",
        "if False and self.backend.durability",
        "tests/stores/test_durability.py -k once_its_status",
    ),
    Mutant(
        "to sync a run does not sync its files",
        SYNCING,
        "            sync_file(folder, file)\n        except",
        "            pass\n        except",
        _SYNC,
    ),
    Mutant(
        "to sync a run does not sync the names of its files",
        SYNCING,
        "            folder.sync_self()\n        except FileNotFoundError:",
        "            pass\n        except FileNotFoundError:",
        _SYNC,
    ),
    Mutant(
        "to sync a run does not sync the way to it",
        DIRECTORY,
        "                self._folders.sync_way_to(folder)\n",
        "",
        _SYNC,
    ),
    Mutant(
        "to sync a large run does nothing",
        SYNCING,
        "            folder.syscalls.syncfs(folder.fd)",
        "            pass",
        "tests/stores/test_durability.py -k syncing_a_large_run",
    ),
    Mutant(
        "what is added to a run that has ended is not synced",
        CHUNK_WRITER,
        "            if self.has_finished(run_id, known):\n                self._sync_file",
        "            if False:\n                self._sync_file",
        _AFTER_THE_END,
    ),
    Mutant(
        "what is replaced in a run that has ended is synced after it was renamed",
        CHUNK_WRITER,
        "durable = at_the_end and replaces and self.has_finished(run_id, known)",
        "durable = False",
        _AFTER_THE_END,
    ),
    Mutant(
        "whether a run has ended is asked once",
        CHUNK_WRITER,
        "if version is None or known.end is None or known.end.version != version:",
        "if version is None or known.end is None:",
        _AFTER_THE_END,
    ),
    Mutant(
        "a document of a run that has ended is not synced",
        DOCUMENT,
        "durable = self.backend.durability == AT_THE_END and has_finished",
        "durable = False",
        _AFTER_THE_END,
    ),
    Mutant(
        "a run that is added whole is not synced",
        RUN_METHODS,
        "self._create(stored, durable=self.backend.durability == AT_THE_END)",
        "self._create(stored)",
        "tests/stores/test_durability.py -k added_whole",
    ),
    Mutant(
        "data in the catalog is not synced",
        CATALOG_VERSIONS,
        "        if sync:\n            syscalls.fsync(fd)\n    finally:",
        "        if False:\n            syscalls.fsync(fd)\n    finally:",
        "tests/recording/test_data.py -k synced",
    ),
    Mutant(
        "folders of the catalog are not synced",
        CATALOG_ON_DISK,
        "                self._sync_names(relative, digest)\n",
        "                pass\n",
        "tests/recording/test_data.py -k synced",
    ),
    Mutant(
        "data that was taken over is not synced",
        CATALOG_ON_DISK,
        "                self._sync_names(relative, entry.data_hash, with_bytes=True)\n        except OSError",
        "                pass\n        except OSError",
        "tests/recording/test_resume.py -k loss_of_power",
    ),
    Mutant(
        "the catalog is not synced when a run ends",
        WHOLE_RUN,
        "is_due = self.store.backend.durability == AT_THE_END",
        "is_due = False",
        "tests/recording/test_data.py -k synced",
    ),
    Mutant(
        "what a step printed is not synced",
        CATALOG_ON_DISK,
        "                SYSTEM.fsync(self.fd)\n",
        "",
        "tests/recording/test_output.py -k loss_of_power",
    ),
    Mutant(
        "the name of the file that a step printed to is not synced",
        CATALOG_ON_DISK,
        "                sync_way_to(SYSTEM, os.path.join(self.catalog.path, self.relative))\n",
        "",
        "tests/recording/test_output.py -k loss_of_power",
    ),
    Mutant(
        "a file is synced before it is written",
        WRITING,
        "    for part in (data,) if isinstance(data, bytes) else _in_blocks(data):\n",
        """\
    if durable:
        syscalls.fsync(fd)
    durable = False
    for part in (data,) if isinstance(data, bytes) else _in_blocks(data):
""",
        _AT_LEVEL_STEP,
    ),
    Mutant(
        "a run is said to have ended before its data is synced",
        WHOLE_RUN,
        "synced = self.catalog.sync() if is_due else None",
        "synced = None",
        "tests/recording/test_data.py -k before_the_run",
    ),
    Mutant(
        "a failed syncfs is passed over",
        SYSCALLS,
        "        if function(fd) != 0:",
        "        if False:",
        "tests/stores/test_durability.py -k sync_of_everything",
    ),
    Mutant(
        "without syncfs nothing is synced",
        SYNCING,
        """\
            if error.errno not in REFUSED:
                raise
""",
        """\
            if error.errno not in REFUSED:
                raise
            return
""",
        "tests/stores/test_durability.py -k no_call_for_all",
    ),
    Mutant(
        "what changes a run that has ended does not finish what its end has left undone",
        CHUNKED,
        "        if not known.is_synced:\n",
        "        if has_just_ended:\n",
        "tests/proofs/test_finished_is_durable.py",
    ),
    Mutant(
        "after a sync that failed the next one is believed",
        SYNCING,
        "            if has_failed:\n                names",
        "            if False:\n                names",
        "tests/proofs/test_finished_is_durable.py",
    ),
    Mutant(
        "no mark says to others that a sync has failed",
        SYNCING,
        "            leave_mark(folder, mark)  # for others\n",
        "",
        "tests/proofs/test_finished_is_durable.py",
    ),
    Mutant(
        "a sync that failed is not remembered where no mark can be left",
        SYNCING,
        "            self._failed[failed] = folder  # which keeps its number from being given to another\n",
        "",
        "tests/proofs/test_finished_is_durable.py",
    ),
    Mutant(
        "data that is put while the run ends is not made durable",
        WHOLE_RUN,
        "            self.catalog.sync(synced)",
        "            del synced",
        "tests/proofs/test_finished_is_durable.py -k another_process_puts",
    ),
    Mutant(
        "data that is put into a run that has ended is not made durable",
        SCOPE,
        "        if entries and self.tell_store(self.store.must_be_durable):",
        "        if False:",
        "tests/proofs/test_finished_is_durable.py -k another_process_puts",
    ),
    Mutant(
        "a run that is ended through its store leaves its data undone",
        RECORDER,
        "        catalog_of(store, run_id, incarnation).sync()\n",
        "        pass\n",
        "tests/proofs/test_finished_is_durable.py -k through_its_store",
    ),
)
