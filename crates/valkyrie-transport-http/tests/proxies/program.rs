//! A proxy of a test's own: HAProxy or nginx, from Debian.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// HTTP/2 on both sides.
    Haproxy,
    /// HTTP/2 in front, and `grpc_pass` behind.
    Nginx,
}

/// Runs until it is dropped.
pub(crate) struct Proxy {
    child: Child,
    /// The port that speaks HTTP/2 without TLS.
    pub(crate) plain: u16,
    /// The port that speaks TLS, which ends there.
    pub(crate) tls: u16,
    /// The port that it passes requests on to.
    pub(crate) behind: u16,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts one; `None`, with a word about it, where there is none.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        let Some(program) = program(kind) else {
            // A test that is passed over says so where its output is read.
            #[allow(clippy::print_stderr)]
            {
                eprintln!("SKIPPED: there is no {kind:?} here, and none can be installed by apt-get");
            }
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("both.pem", &format!("{certificate}{}", key.serialize_pem()));
        let [plain, tls, behind] = free_ports();
        let mut command = Command::new(program);
        let path = folder.path();
        match kind {
            Kind::Haproxy => {
                write("haproxy.cfg", &haproxy(path, plain, tls, behind));
                command.arg("-db").arg("-f").arg(path.join("haproxy.cfg"));
            }
            Kind::Nginx => {
                write("nginx.conf", &nginx(path, plain, tls, behind));
                command
                    .arg("-c")
                    .arg(path.join("nginx.conf"))
                    .arg("-p")
                    .arg(path)
                    .args(["-e", "stderr"]);
            }
        }
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut proxy = Self {
            child,
            plain,
            tls,
            behind,
            _folder: folder,
        };
        let started = Instant::now();
        while [plain, tls]
            .iter()
            .any(|&port| TcpStream::connect(("127.0.0.1", port)).is_err())
        {
            let ended = proxy.child.try_wait().unwrap();
            assert!(ended.is_none(), "{kind:?} ended: {ended:?}");
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "{kind:?} does not listen"
            );
            std::thread::yield_now();
        }
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn haproxy(folder: &Path, plain: u16, tls: u16, behind: u16) -> String {
    let folder = folder.display();
    format!(
        "global
    maxconn 256
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend front
    bind 127.0.0.1:{plain} proto h2
    bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2
    default_backend back
backend back
    server node 127.0.0.1:{behind} proto h2
"
    )
}

fn nginx(folder: &Path, plain: u16, tls: u16, behind: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
        master_process off;
        pid {folder}/nginx.pid;
        events {{ worker_connections 256; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            client_max_body_size 0;
            client_body_timeout 1h;
            server {{
                listen 127.0.0.1:{plain} http2;
                listen 127.0.0.1:{tls} ssl http2;
                ssl_certificate {folder}/both.pem;
                ssl_certificate_key {folder}/both.pem;
                ssl_protocols TLSv1.3;
                location /v2/link {{
                    grpc_pass grpc://127.0.0.1:{behind};
                    grpc_read_timeout 1h;
                    grpc_send_timeout 1h;
                }}
            }}
        }}"
    )
}

/// Ports that were free a moment ago, all of them at once.
fn free_ports<const N: usize>() -> [u16; N] {
    let bound = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

/// The program, installed once where this is root on Debian.
fn program(kind: Kind) -> Option<&'static str> {
    let (package, paths) = match kind {
        Kind::Haproxy => ("haproxy", ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]),
        Kind::Nginx => ("nginx-light", ["/usr/sbin/nginx", "/usr/local/sbin/nginx"]),
    };
    let found = || paths.into_iter().find(|path| Path::new(path).is_file());
    found().or_else(|| {
        let installed = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", package])
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
