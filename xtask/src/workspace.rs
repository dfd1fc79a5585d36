//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout and the folders that the tooling uses.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Workspace {
    /// Finds the checkout from the place of this package, and the caches from the environment.
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package lies in the workspace")?
            .to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
            .or_else(|| env::home_dir().map(|home| home.join(".cache")))
            .context("neither XDG_CACHE_HOME nor a home directory is set")?
            .join("wardlink");
        Ok(Self { root, target, cache })
    }

    /// The root of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory for native code.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Cargo's target directory for WebAssembly: its own, so that native builds and it never wait for each other.
    pub(crate) fn wasm_target(&self) -> PathBuf {
        self.target.join("wasm")
    }

    /// Holds installed tools; outlives `cargo clean`.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The static assets of the web app.
    pub(crate) fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// The worker's script and module.
    pub(crate) fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// What a development run keeps: the worker's storage, the pump's state.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join(".wardlink")
    }
}
