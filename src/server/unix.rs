//! Unix sockets to listen on.
//!
//! Promises: a socket's file that a killed process left behind is replaced, one
//! that somebody listens on is an error, and any other file is left alone; the
//! file is removed at the end, unless another one is there by then. All data
//! threads accept from one socket, each as it is ready.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

/// Processes of the user and of the group may connect.
const MODE: u32 = 0o660;

/// One thread's share of a socket.
#[derive(Debug)]
pub(super) struct UnixSocket {
    // Dropped before the listener: who binds the path next still sees somebody
    // listen for as long as the file may be removed.
    _file: Arc<SocketFile>,
    listener: UnixListener,
}

impl UnixSocket {
    /// The listening socket.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

/// A socket's file, removed with the last of the threads.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and number of the file that was made.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).ok() != Some(self.identity) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "the socket's file was not removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Binds `path`, and gives a share to each of so many threads.
///
/// # Errors
/// Where it cannot be bound, or somebody listens there.
pub(super) fn bind(path: &Path, threads: usize, backlog: i32) -> io::Result<Vec<UnixSocket>> {
    let address = SockAddr::unix(path)?;
    let folder = path.parent().map(File::open).transpose()?;
    if let Some(folder) = &folder {
        // Two that start at once must not both replace what is left over.
        folder.try_lock().map_err(|_| {
            let message = "another process has locked the folder of the socket";
            io::Error::new(io::ErrorKind::AddrInUse, message)
        })?;
    }
    if is_left_over(path, &address)? {
        std::fs::remove_file(path)?;
    }
    let socket = open()?;
    socket.bind(&address)?;
    let file = Arc::new(SocketFile {
        path: path.to_owned(),
        identity: identity(path)?,
    });
    // Nobody can connect before it listens.
    std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(backlog)?;
    let listener = UnixListener::from(socket);
    (0..threads)
        .map(|_| {
            Ok(UnixSocket {
                _file: Arc::clone(&file),
                listener: listener.try_clone()?,
            })
        })
        .collect()
}

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether `path` is a socket that nobody listens on.
fn is_left_over(path: &Path, address: &SockAddr) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        // What else is there is for the kernel to complain of.
        _ => return Ok(false),
    }
    match open()?.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // A queue that is full is somebody's too.
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_file_that_was_left_over_is_replaced_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pannier.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let shares = bind(&path, 2, 8).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        UnixStream::connect(&path).unwrap();
        let taken = bind(&path, 2, 8).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(shares);
        assert!(!path.exists());

        std::fs::write(&path, "a file of somebody's").unwrap();
        let taken = bind(&path, 2, 8).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_another_process_made_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pannier.sock");
        let shares = bind(&path, 1, 8).unwrap();
        let elsewhere = folder.path().join("elsewhere.sock");
        std::fs::rename(&path, &elsewhere).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(shares);
        UnixStream::connect(&path).unwrap();
        drop(other);
    }
}
