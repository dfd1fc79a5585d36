//! A mirror of packages: a real nginx over a folder. It knows nothing of Wardlink.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{Process, free_port};
use crate::{Scene, artifacts, wait};

/// A running mirror.
#[derive(Debug)]
pub struct Mirror {
    port: u16,
    _process: Process,
}

impl Mirror {
    /// Serves what lies, or will lie, in a folder.
    pub fn open(scene: &Scene, packages: &Path) -> Result<Self> {
        let (folder, port) = (scene.path("mirror-nginx"), free_port()?);
        for folder in [&folder, packages] {
            fs::create_dir_all(folder).context("cannot make a folder")?;
        }
        // One process, which runs as whoever runs the test.
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr info;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
             uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n\
             server {{ listen 127.0.0.1:{port}; location /packages/ {{ alias {}/; }} }}\n}}\n",
            packages.display()
        );
        fs::write(folder.join("main.conf"), configuration).context("cannot write main.conf")?;
        let mut command = Command::new(artifacts::nginx()?);
        command.arg("-p").arg(&folder).args(["-e", "stderr", "-c", "main.conf"]);
        let mut process = Process::spawn(scene, "mirror", &mut command)?;
        wait::until("the mirror answers", || {
            process.require_running()?;
            let answer = ureq::get(format!("http://127.0.0.1:{port}/")).call();
            Ok(matches!(answer, Ok(_) | Err(ureq::Error::StatusCode(_))).then_some(()))
        })?;
        Ok(Self { port, _process: process })
    }

    /// The address under which the packages lie.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/packages", self.port)
    }
}
