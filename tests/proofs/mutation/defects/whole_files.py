"""A name is given once, and to a whole file."""

from mutant import Mutant

from defects.sources import (
    CATALOG_VERSIONS,
    CHUNK_WRITER,
    CREATION,
    DOCUMENT,
    NAMING,
    OPEN_FOLDERS,
    PUBLISHING,
    RECORD_WRITER,
    SEALING,
    SYSCALLS,
    TEMPORARY_NAMES,
    TREES,
    UNFINISHED,
    WRITING,
)

_BACKENDS = "tests/backends/test_backends.py"
_SECURITY = "tests/proofs/test_security.py"
_RENAMED = """\
        write_plain(folder, temporary, data, durable=durable)
        folder.syscalls.rename(temporary, file, folder.fd)
"""

MUTANTS = (
    Mutant(
        "publishing renames over what is there",
        NAMING,
        "folder.syscalls.link(temporary, file, folder.fd)",
        "folder.syscalls.rename(temporary, file, folder.fd)",
        f"{_BACKENDS} -k never_replaces",
    ),
    Mutant(
        "publishing removes what is there",
        PUBLISHING,
        "        syscalls.link_unnamed(fd, file, folder.fd)\n",
        """\
        try:
            syscalls.link_unnamed(fd, file, folder.fd)
        except FileExistsError:
            syscalls.unlink(file, folder.fd)
            syscalls.link_unnamed(fd, file, folder.fd)
""",
        f"{_BACKENDS} -k never_replaces",
    ),
    Mutant(
        "publishing without hard links writes over what is there",
        NAMING,
        "folder.syscalls.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, folder.fd)",
        "folder.syscalls.open(file, os.O_CREAT | os.O_WRONLY, folder.fd)",
        f"{_BACKENDS} -k never_replaces",
    ),
    Mutant(
        "a name that is taken is passed over",
        NAMING,
        "_link_count(folder, temporary) == 1:",
        "_link_count(folder, temporary) == 0:",
        f"{_BACKENDS} -k never_replaces",
    ),
    Mutant(
        "a link whose answer was lost is a clash",
        NAMING,
        "if _link_count(folder, temporary) == 1:",
        "if True:",
        f"{_BACKENDS} -k answer_was_lost",
    ),
    Mutant(
        "a chunk whose name is taken is not written under another",
        CHUNK_WRITER,
        "                continue  # another process had the same nanosecond",
        "                pass",
        f"{_BACKENDS} -k same_nanosecond",
    ),
    Mutant(
        "a run takes the place of the one that is there",
        CREATION,
        "            remove_tree(syscalls, temporary)\n            return False\n",
        """\
            remove_tree(syscalls, folders.path(folder))
            syscalls.rename(temporary, folders.path(folder))
""",
        f"{_BACKENDS} -k created_once",
    ),
    Mutant(
        "a document takes the place of the one that is there",
        DOCUMENT,
        "self.backend.publish(_TOP, _file_of(log.run_id), self._encode(document), durable=durable)",
        "self.backend.replace(_TOP, _file_of(log.run_id), self._encode(document), durable=durable)",
        f"{_BACKENDS} -k run_that_exists",
    ),
    Mutant(
        "a folder becomes a run without a lock",
        CREATION,
        "while_locked(lambda: folders.do(folder, complete))",
        "folders.do(folder, complete)",
        "tests/stores/test_moved_folders.py -k under_its_lock",
    ),
    Mutant(
        "a run is deleted file by file in its place",
        TREES,
        "        syscalls.rename(path, aside)\n        remove_tree(syscalls, aside)\n",
        "        remove_tree(syscalls, path)\n",
        "tests/stores/test_moved_folders.py -k gone_at_once",
    ),
    Mutant(
        "files are written in place",
        PUBLISHING,
        _RENAMED,
        """\
        temporary = file
        fd = folder.syscalls.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, folder.fd)
        fill(folder.syscalls, fd, data, durable=durable)
        folder.syscalls.close(fd)
""",
        "tests/proofs/test_faults.py -k 'fails_once and again and EIO'",
    ),
    Mutant(
        "short writes are taken for whole ones",
        WRITING,
        "    while written < len(data):",
        "    while False:",
        "tests/proofs/test_faults.py -k 'short_writes and add'",
    ),
    Mutant(
        "short writes into the catalog are taken for whole ones",
        CATALOG_VERSIONS,
        "            write_whole(syscalls, fd, block)",
        "            syscalls.write(fd, block)",
        "tests/recording/test_data.py -k short_writes",
    ),
    Mutant(
        "temporary files lie in another folder",
        TEMPORARY_NAMES,
        'return f"{TEMPORARY_PREFIX}{self._unique}',
        'return f"/tmp/{TEMPORARY_PREFIX}{self._unique}',
        f"{_BACKENDS} -k temporary_files_lie",
    ),
    Mutant(
        "temporary names hold the process id alone",
        TEMPORARY_NAMES,
        "-{os.urandom(6).hex()}-",
        "-",
        f"{_BACKENDS} -k processes_of_one_id",
    ),
    Mutant(
        "a forked child goes on with the temporary names of its parent",
        TEMPORARY_NAMES,
        "in_forked_children(temporary_names.reset)",
        "pass",
        f"{_BACKENDS} -k forked_child",
    ),
    Mutant(
        "a temporary file stays after an error",
        PUBLISHING,
        _RENAMED + "    except BaseException:\n        discard(folder, temporary)\n",
        _RENAMED + "    except BaseException:\n",
        "tests/proofs/test_faults.py -k 'fails_once and again and EIO'",
    ),
    Mutant(
        "a temporary file stays after an interrupt",
        PUBLISHING,
        _RENAMED + "    except BaseException:",
        _RENAMED + "    except Exception:",
        "tests/proofs/test_interrupts.py -k 'around_any_system_call and again'",
    ),
    Mutant(
        "a folder that was being filled stays after an error",
        CREATION,
        "        _discard_new(syscalls, handle, temporary, files)\n        raise\n    return handle",
        "        raise\n    return handle",
        "tests/proofs/test_faults.py -k 'fails_once and create and EIO'",
    ),
    Mutant(
        "files are for their owner alone",
        SYSCALLS,
        "0o666",
        "0o600",
        f"{_SECURITY} -k umask",
    ),
    Mutant(
        "folders are for their owner alone",
        SYSCALLS,
        "0o777",
        "0o700",
        f"{_SECURITY} -k umask",
    ),
    Mutant(
        "a temporary file stays after it was published",
        PUBLISHING,
        "        discard(folder, temporary)\n    except BaseException:  # also",
        "        pass\n    except BaseException:  # also",
        f"{_BACKENDS} -k temporary_files_lie",
    ),
    Mutant(
        "generated run ids are not random",
        "chunkstore/names.py",
        "for _ in range(12)",
        "for _ in range(0)",
        "tests/test_names.py",
    ),
    Mutant(
        "long names that begin alike have one file",
        "chunkstore/names.py",
        '    return f"{encoded[:_KEPT_LENGTH]}~{digest}"',
        "    return f\"{encoded[:_KEPT_LENGTH]}~{16 * '0'}\"",
        "tests/test_names.py",
    ),
    Mutant(
        "a run id may lead up",
        "chunkstore/names.py",
        '    elif run_id[0] in ". " or run_id[-1] in ". ":',
        "    elif False:",
        "tests/test_names.py",
    ),
    Mutant(
        "names are not encoded for file names",
        "chunkstore/names.py",
        "    encoded = _UNSAFE.sub(_percent, name)\n    encoded = _EDGES",
        "    encoded = name\n    encoded = _EDGES",
        "tests/test_names.py",
    ),
    Mutant(
        "a copy into the catalog that failed stays",
        CATALOG_VERSIONS,
        "    except BaseException:\n        discard(folder, temporary)\n        raise\n    return digest\n",
        "    except BaseException:\n        raise\n    return digest\n",
        "tests/recording/test_data.py -k fails",
    ),
    Mutant(
        "data that is replaced is gone",
        CATALOG_VERSIONS,
        "        _add(versions, digest, folder, temporary, sync=sync)\n",
        "",
        "tests/recording/test_versions.py -k just_before",
    ),
    Mutant(
        "a put that loses to equal bytes leaves its copy",
        CATALOG_VERSIONS,
        "        # A rename onto another name of the same file leaves both: others may have put equal bytes just now.\n"
        "        discard(folder, temporary)\n",
        "",
        "tests/recording/test_versions.py -k equal_bytes_that_are_put",
    ),
    Mutant(
        "data that an older version has put is gone when it is replaced",
        CATALOG_VERSIONS,
        "    take(folder, file, versions, sync=sync)\n",
        "    return\n",
        "tests/recording/test_versions.py -k older_version",
    ),
    Mutant(
        "a version that was damaged is taken for a whole one",
        CATALOG_VERSIONS,
        "        return kept.st_mode if hash_in(versions, digest) == digest else None\n",
        "        return kept.st_mode\n",
        "tests/recording/test_versions.py -k damaged",
    ),
    Mutant(
        "who may do what with data is not kept",
        CATALOG_VERSIONS,
        "            syscalls.chmod(fd, mode)  # before there is anything to be read\n",
        "            pass\n",
        "tests/recording/test_versions.py -k permissions",
    ),
    Mutant(
        "a write to a run that was deleted goes on in the next one of its id",
        OPEN_FOLDERS,
        "        if within is None:\n            return self.cached(folder)",
        "        if True:\n            return self.cached(folder)",
        "tests/stores/test_incarnations.py -k 'is_in_the_new_one or nothing_to_another'",
    ),
    Mutant(
        "a buffered store publishes over what is there",
        "chunkstore/backends/memory.py",
        "            if self._parts.setdefault(file, parts) is not parts:",
        "            self._parts[file] = parts\n            if False:",
        "tests/backends/test_backends.py",
    ),
    Mutant(
        "a name that was given in spite of an error stays",
        NAMING,
        "        if _has_another_name(folder, temporary):\n",
        "        if False:\n",
        "tests/proofs/test_tried_again.py -k name_could_not_be_given",
    ),
    Mutant(
        "a file that was named in spite of an error stays",
        PUBLISHING,
        "            if syscalls.fstat(fd).st_nlink:\n",
        "            if False:\n",
        "tests/proofs/test_tried_again.py -k done_again",
    ),
    Mutant(
        "a rename to a new name replaces what is there",
        NAMING,
        "        folder.syscalls.rename_new(temporary, file, folder.fd)",
        "        folder.syscalls.rename(temporary, file, folder.fd)",
        "tests/backends/test_backends.py -k never_replaces",
    ),
    Mutant(
        "files that are written together get their names while others are not written yet",
        PUBLISHING,
        """\
        for name, (_, data, _) in zip(temporary, files, strict=True):
            write_plain(folder, name, data, durable=durable)
        if before is not None:
            before()
        for name, (file, _, is_new) in zip(temporary, files, strict=True):
""",
        """\
        for name, (file, data, is_new) in zip(temporary, files, strict=True):
            write_plain(folder, name, data, durable=durable)
""",
        "tests/proofs/test_tried_again.py -k full_disk",
    ),
    Mutant(
        "what is on its way is a problem",
        UNFINISHED,
        "        to_come = _names_to_come(reader, listed)",
        "        to_come: list[str] = []",
        "tests/proofs/test_all_or_nothing.py -k killed_anywhere",
    ),
    Mutant(
        "the outer record comes before those inside it",
        RECORD_WRITER,
        "            inside_first = reversed(records.items())",
        "            inside_first = list(records.items())",
        "tests/proofs/test_all_or_nothing.py -k 'reader_beside or killed_anywhere'",
    ),
    Mutant(
        "what was written before the error stays",
        RECORD_WRITER,
        "            for take_back in reversed(undo):\n",
        "            for take_back in ():\n",
        "tests/proofs/test_all_or_nothing.py -k leaves_none",
    ),
    Mutant(
        "a document that was replaced in spite of an error stays",
        DOCUMENT,
        "                if self.backend.load(_TOP, file) == after:\n",
        "                if False:\n",
        "tests/proofs/test_all_or_nothing.py tests/proofs/test_tried_again.py -k 'leaves_none or done_again'",
    ),
    Mutant(
        "a line of a sealed file leads unsealing anywhere",
        SEALING,
        "for name in names if not is_packable(name)]:",
        "for name in names if False]:",
        "tests/proofs/test_security.py -k leads_unsealing_nowhere",
    ),
    Mutant(
        "in a bucket, what data replaces is lost",
        "chunkstore/recording/catalog/in_store.py",
        "            self.files.put(_version_of(relative, digest), first, attributes)\n",
        "",
        "tests/recording/test_catalogs_in_buckets.py -k 'replaces_is_kept and memory'",
    ),
    Mutant(
        "what is shown of a bucket's options has secrets in it",
        "chunkstore/backends/objects/settings.py",
        '"…" if is_secret(name) else repr(value)[:_LONGEST_SHOWN]',
        "repr(value)[:_LONGEST_SHOWN]",
        "tests/stores/test_bucket_config.py -k secret",
    ),
)
