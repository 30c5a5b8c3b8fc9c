"""SFTP servers that tell less, or allow less, than others; each is a thing that real servers do."""

import asyncssh
import pytest

from tests.sftp_server import SftpServer

ALWAYS = 1_000_000
DENIED = asyncssh.SFTPPermissionDenied("no")
UNSUPPORTED = asyncssh.SFTPOpUnsupported("never")
FAILURE = asyncssh.SFTPFailure("Failure")


def no_fstat(sftp: SftpServer) -> None:
    sftp.arm("fstat", FAILURE, times=ALWAYS)


def no_size_of_open_files(sftp: SftpServer) -> None:
    sftp.sizes = ("open", "none")


def zero_of_open_files(sftp: SftpServer) -> None:
    sftp.sizes = ("open", "zero")


def no_size_at_all(sftp: SftpServer) -> None:
    sftp.sizes = ("all", "none")


def zero_at_all(sftp: SftpServer) -> None:
    sftp.sizes = ("all", "zero")


def failure_for_absent(sftp: SftpServer) -> None:
    sftp.vague = True


def no_lstat(sftp: SftpServer) -> None:
    sftp.arm("lstat", DENIED, times=ALWAYS)


def no_lstat_supported(sftp: SftpServer) -> None:
    sftp.arm("lstat", UNSUPPORTED, times=ALWAYS)


def no_fsync(sftp: SftpServer) -> None:
    sftp.arm("fsync", FAILURE, times=ALWAYS)


def fsync_denied(sftp: SftpServer) -> None:
    sftp.arm("fsync", DENIED, times=ALWAYS)


def no_truncate(sftp: SftpServer) -> None:
    sftp.arm("setstat", FAILURE, times=ALWAYS)


def one_handle(sftp: SftpServer) -> None:
    sftp.handles = 1


SPARSE = [
    no_fstat,
    no_size_of_open_files,
    zero_of_open_files,
    no_size_at_all,
    zero_at_all,
    failure_for_absent,
    no_lstat,
    no_lstat_supported,
    no_fsync,
    fsync_denied,
    no_truncate,
    one_handle,
]
sparse = pytest.mark.parametrize("limit", SPARSE)
"""Marks a test that is given each of them, as `limit`."""
