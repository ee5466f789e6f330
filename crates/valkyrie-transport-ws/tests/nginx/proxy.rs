//! An nginx of a test's own.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which of the proxy's two ports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Front {
    /// Plain HTTP.
    Plain,
    /// TLS, which ends there.
    Tls,
}

/// Runs until it is dropped.
pub(crate) struct Nginx {
    child: Child,
    plain: u16,
    tls: u16,
    /// The port that it passes WebSockets on to.
    pub(crate) behind: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one; `None`, with a word about it, where there is none.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            // A test that is passed over says so where its output is read.
            #[allow(clippy::print_stderr)]
            {
                eprintln!(
                    "SKIPPED: there is no nginx here, and none can be installed (apt-get install nginx-light)"
                );
            }
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("cert.pem", &certificate.pem());
        write("key.pem", &key.serialize_pem());
        let [plain, tls, behind] = free_ports();
        write("nginx.conf", &configuration(folder.path(), plain, tls, behind));
        let child = Command::new(program)
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .arg("-p")
            .arg(folder.path())
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Self {
            child,
            plain,
            tls,
            behind,
            _folder: folder,
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", tls)).is_err() {
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none(), "nginx ended: {ended:?}");
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "nginx does not listen"
            );
            std::thread::yield_now();
        }
        Some(nginx)
    }

    pub(crate) fn port(&self, front: Front) -> u16 {
        match front {
            Front::Plain => self.plain,
            Front::Tls => self.tls,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What documentation everywhere says about WebSocket behind nginx, and as little else as it starts with.
///
/// And one thing more: when its server is gone while the client still sends, nginx by itself reads on and throws away what it reads,
/// for thirty seconds (`lingering_time`), before it hangs up. It does so where bytes of the client are waiting at that moment, so now and
/// then. A writer learns of the end when that time is over, and a test would wait for it.
fn configuration(folder: &Path, plain: u16, tls: u16, behind: u16) -> String {
    let folder = folder.display();
    let pass = format!(
        "location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $http_host;
            proxy_read_timeout 1h;
        }}"
    );
    format!(
        "daemon off;
        master_process off;
        pid {folder}/nginx.pid;
        events {{ worker_connections 256; }}
        http {{
            access_log off;
            lingering_close off;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
            server {{ listen 127.0.0.1:{plain}; {pass} }}
            server {{
                listen 127.0.0.1:{tls} ssl;
                ssl_certificate {folder}/cert.pem;
                ssl_certificate_key {folder}/key.pem;
                ssl_protocols TLSv1.3;
                {pass}
            }}
        }}"
    )
}

/// Ports that were free a moment ago, all of them at once.
fn free_ports<const N: usize>() -> [u16; N] {
    let bound = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

/// nginx, installed once where this is root on Debian.
fn program() -> Option<&'static str> {
    let found = || {
        let paths = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
        paths.into_iter().find(|path| Path::new(path).is_file())
    };
    found().or_else(|| {
        let install = ["install", "-y", "--no-install-recommends", "nginx-light"];
        let installed = Command::new("apt-get")
            .args(install)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        installed
            .is_ok_and(|status| status.success())
            .then(found)
            .flatten()
    })
}
