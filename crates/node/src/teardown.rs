//! Ends a driver with its environment: at `process.exit()`, at the end of a worker thread, in an embedder's own time.

use napi::{Env, Status, sys};
use std::{
    ffi::c_void,
    rc::{Rc, Weak},
};

/// What is told that its environment ends. On the environment's thread; nothing of JavaScript can be called any more.
pub(crate) trait EndsWithEnvironment {
    fn environment_ends(&self);
}

/// A hook of an environment, to be removed once. napi's own keeps its closure's memory when it is removed, and a process
/// may make a driver per job.
pub(crate) struct Hook<T: EndsWithEnvironment> {
    env: Env,
    /// Made by `Weak::into_raw`; owned by the hook.
    target: *const T,
}

impl<T: EndsWithEnvironment> Hook<T> {
    /// Hooks run last in, first out: add this one after the threadsafe function, whose own hook would close it.
    pub(crate) fn add(env: Env, target: &Rc<T>) -> napi::Result<Self> {
        let target = Rc::downgrade(target).into_raw();
        // SAFETY: `run::<T>` gets the pointer it expects, valid until it has run or `remove` has taken it back.
        let status =
            unsafe { sys::napi_add_env_cleanup_hook(env.raw(), Some(run::<T>), target.cast_mut().cast()) };
        if status == sys::Status::napi_ok {
            return Ok(Self { env, target });
        }
        // SAFETY: nobody else got it.
        drop(unsafe { Weak::from_raw(target) });
        Err(napi::Error::new(Status::from(status), "the environment is ending".to_owned()))
    }

    /// On the environment's thread, before the hook ran.
    pub(crate) fn remove(self) {
        let Self { env, target } = self;
        // SAFETY: the same function and argument as in `add`, on the thread of a live environment.
        let status =
            unsafe { sys::napi_remove_env_cleanup_hook(env.raw(), Some(run::<T>), target.cast_mut().cast()) };
        if status == sys::Status::napi_ok {
            // SAFETY: the hook is gone and will not use it.
            drop(unsafe { Weak::from_raw(target) });
        }
    }
}

unsafe extern "C" fn run<T: EndsWithEnvironment>(target: *mut c_void) {
    // SAFETY: `add` made it by `Weak::into_raw`, and a hook runs once.
    let target = unsafe { Weak::from_raw(target.cast_const().cast::<T>()) };
    if let Some(target) = target.upgrade() {
        target.environment_ends();
    }
}
