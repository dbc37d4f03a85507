//! Errors as Node's own look: `code`, and for system errors `errno`, `syscall`, `address`, `port`.

use crate::config::address_text;
use napi::{
    Env, Error, JsValue, Status,
    bindgen_prelude::{JsObjectValue, Object},
};
use paceline_udp::{InjectError, StartError};
use std::{fmt::Display, io};

/// What `error.code` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// An argument is wrong in a way that the package should have noticed, or cannot.
    Option,
    /// A secret is refused.
    Secret,
    /// This process has used the path secret up.
    PathSecretUsed,
    /// There are as many peers, or attempts, as there may be.
    HandshakeLimit,
    /// The package and the addon do not understand each other, or the worker failed.
    Internal,
    /// What napi itself says, or an exception that is already thrown.
    Napi(Status),
}

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        match self {
            Self::Option => "ERR_PACELINE_OPTION",
            Self::Secret => "ERR_PACELINE_SECRET",
            Self::PathSecretUsed => "ERR_PACELINE_PATH_SECRET_USED",
            Self::HandshakeLimit => "ERR_PACELINE_HANDSHAKE_LIMIT",
            Self::Internal => "ERR_PACELINE_INTERNAL",
            Self::Napi(status) => status.as_ref(),
        }
    }
}

impl From<Status> for Code {
    fn from(status: Status) -> Self {
        Self::Napi(status)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error<Code>>;

pub(crate) fn error(code: Code, message: impl Display) -> Error<Code> {
    Error::new(code, message.to_string())
}

/// napi's own errors keep their code.
pub(crate) fn napi(error: Error) -> Error<Code> {
    Error::new(Code::Napi(error.status), error.reason.clone())
}

/// What a refused path secret looks like in JavaScript.
pub(crate) fn inject_error(refused: InjectError) -> Error<Code> {
    let code = match refused {
        InjectError::Used => Code::PathSecretUsed,
        InjectError::Full => Code::HandshakeLimit,
    };
    error(code, refused)
}

/// Throws what a refused start looks like in JavaScript.
pub(crate) fn start_error(env: Env, refused: &StartError) -> Error<Code> {
    let StartError::System { syscall, errno, address } = refused else {
        return error(Code::Option, refused);
    };
    let name = system_error(*errno);
    let throw = || -> napi::Result<()> {
        let code = name.map_or("UNKNOWN", |(name, _)| name);
        let text = format!("{code}: {refused}");
        let mut thrown: Object<'_> = env.create_error(Error::new(Status::GenericFailure, text))?;
        thrown.set_named_property("code", code)?;
        thrown.set_named_property("errno", name.map_or(-errno.abs(), |(_, number)| number))?;
        thrown.set_named_property("syscall", *syscall)?;
        thrown.set_named_property("address", address_text(*address))?;
        thrown.set_named_property("port", u32::from(address.port()))?;
        env.throw(thrown.to_unknown())
    };
    match throw() {
        // It is thrown already: this status says so.
        Ok(()) => Error::new(Code::Napi(Status::PendingException), String::new()),
        Err(failed) => napi(failed),
    }
}

/// Name and number as Node has them, of what making and binding a socket can fail with. On Windows libuv has numbers of its
/// own.
fn system_error(errno: i32) -> Option<(&'static str, i32)> {
    use io::ErrorKind;

    let kind = io::Error::from_raw_os_error(errno).kind();
    let (name, windows) = match (kind, errno) {
        (ErrorKind::AddrInUse, _) => ("EADDRINUSE", -4091),
        (ErrorKind::AddrNotAvailable, _) => ("EADDRNOTAVAIL", -4090),
        // One number on every system that has it.
        (ErrorKind::PermissionDenied, 1) => ("EPERM", -4048),
        (ErrorKind::PermissionDenied, _) => ("EACCES", -4092),
        (ErrorKind::OutOfMemory, _) => ("ENOMEM", -4057),
        (ErrorKind::InvalidInput, _) => ("EINVAL", -4071),
        (_, 23) => ("ENFILE", -4061),
        (_, 24 | 10_024) => ("EMFILE", -4066),
        (_, 47 | 97 | 10_047) => ("EAFNOSUPPORT", -4089),
        (_, 55 | 105 | 10_055) => ("ENOBUFS", -4060),
        _ => return None,
    };
    Some((name, if cfg!(windows) { windows } else { -errno }))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::system_error;

    #[test]
    fn names_are_linux_names() {
        assert_eq!(system_error(98), Some(("EADDRINUSE", -98)));
        assert_eq!(system_error(99), Some(("EADDRNOTAVAIL", -99)));
        assert_eq!(system_error(13), Some(("EACCES", -13)));
        assert_eq!(system_error(1), Some(("EPERM", -1)));
        assert_eq!(system_error(97), Some(("EAFNOSUPPORT", -97)));
        assert_eq!(system_error(24), Some(("EMFILE", -24)));
        assert_eq!(system_error(5), None);
    }
}
