//! Odoo's program: Debian's package unpacked (not installed) beside a Python environment of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::deps::suite::{self, Kind};
use crate::deps::{apt, python};
use crate::place;
use crate::progress::Step;

const PACKAGE: &str = "odoo-19";
const SUITE: &str = "sid";

/// libmagic is loaded by python-magic.
const SYSTEM_PACKAGES: &[&str] = &["libmagic1"];

/// The package's dependencies, by their names on PyPI.
const REQUIREMENTS: &str = "asn1crypto Babel cbor2 chardet cryptography python-dateutil docutils geoip2 gevent greenlet \
    idna Jinja2 libsass lxml lxml-html-clean MarkupSafe num2words ofxparse openpyxl pyopenssl Pillow polib psutil \
    psycopg2-binary pypdf pytz qrcode reportlab requests rjsmin pyserial python-stdnum urllib3 pyusb vobject werkzeug \
    xlrd XlsxWriter xlwt zeep freezegun python-magic passlib setuptools<81";

/// `python -m odoo` would confuse Odoo's own restart of its helper processes.
const STARTER: &str = "import odoo.cli\nif __name__ == '__main__':\n    odoo.cli.main()\n";

/// The unpacked program.
pub struct Program {
    root: PathBuf,
}

impl Program {
    /// Finds it, or fetches and unpacks it.
    pub fn ensure() -> Result<Self> {
        let program = Self {
            root: place::cache_dir("odoo")?.join("program"),
        };
        if program.version().is_some() {
            return Ok(program);
        }
        let _turn = place::lock("odoo-program")?;
        if program.version().is_none() {
            program.install()?;
        }
        Ok(program)
    }

    /// Debian's version of the package, once everything is in place.
    pub fn version(&self) -> Option<String> {
        fs::read_to_string(self.marker()).ok()
    }

    /// `odoo-bin`, ready for arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.root.join("venv/bin/python"));
        command.arg(self.root.join("odoo-bin"));
        command
            .env("PYTHONPATH", self.libraries())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        // libpq would obey them, and they mean another server.
        for name in [
            "PGUSER",
            "PGPASSWORD",
            "PGHOST",
            "PGPORT",
            "PGDATABASE",
            "PGSERVICE",
            "ODOO_RC",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn libraries(&self) -> PathBuf {
        self.root.join("package/usr/lib/python3/dist-packages")
    }

    fn marker(&self) -> PathBuf {
        self.root.join(".complete")
    }

    fn install(&self) -> Result<()> {
        apt::install(SYSTEM_PACKAGES)?;
        let _ = fs::remove_dir_all(&self.root);
        fs::create_dir_all(&self.root)?;
        let package = suite::fetch(SUITE, Kind::Package, PACKAGE, &self.root.join("download"))?;
        let step = Step::start("Unpacking Odoo");
        let unpack = &mut Command::new("dpkg");
        command::logged(
            &step,
            unpack
                .arg("-x")
                .arg(&package)
                .arg(self.root.join("package")),
            "odoo-unpack",
        )?;
        let version = command::output(
            Command::new("dpkg-deb")
                .arg("-f")
                .arg(&package)
                .arg("Version"),
        )?;
        fs::remove_dir_all(self.root.join("download"))?;
        fs::write(self.root.join("odoo-bin"), STARTER)?;
        step.done(&version);
        self.python()?;
        fs::write(self.marker(), format!("{PACKAGE} {version}"))?;
        Ok(())
    }

    fn python(&self) -> Result<()> {
        let step = Step::start("Installing Odoo's Python requirements (about 1 minute, once)");
        let requirements: Vec<&str> = REQUIREMENTS.split_whitespace().collect();
        let venv = self.root.join("venv");
        python::environment(&step, &venv, "odoo", &requirements)?;
        let mut compile = Command::new(venv.join("bin/python"));
        compile
            .args(["-m", "compileall", "-q", "-j", "0"])
            .arg(self.libraries().join("odoo"));
        // A template file that is no Python is no reason to stop.
        let _ = command::logged(&step, &mut compile, "odoo-compile");
        step.done("");
        Ok(())
    }
}
