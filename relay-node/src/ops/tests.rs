//! The endpoint as an operator's tools see it.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

struct Fixed;

impl MetricsSource for Fixed {
    fn write_metrics(&self, out: &mut String) {
        out.push_str("# TYPE soleil_fixed_total counter\nsoleil_fixed_total 7\n");
    }
}

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get_path(address: std::net::SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn health_readiness_metrics_and_log_level() {
    let ops = Ops::new("test-node", LogControl::none());
    ops.register(Arc::new(Fixed));
    ops.readiness().hold("attached", "no parent yet");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(ops.clone().serve(listener, async {
        let _ = stopped.await;
    }));
    assert!(get_path(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let answer = get_path(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("attached: no parent yet\n"), "{answer}");
    let answer = get_path(address, "/metrics").await;
    assert!(answer.contains("soleil_build_info{program=\"test-node\",version="), "{answer}");
    assert!(answer.contains("\nsoleil_ready 0\n"), "{answer}");
    assert!(answer.contains("\nsoleil_fixed_total 7\n"), "{answer}");
    ops.readiness().clear("attached");
    assert!(get_path(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let put = |body: &str| {
        let length = body.len();
        format!(
            "PUT /loglevel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    // No log of its own here: it says so. Nonsense and floods are refused.
    assert!(ask(address, &put("debug")).await.contains("cannot be changed"));
    assert!(ask(address, &put("loud=very")).await.starts_with("HTTP/1.1 400"));
    assert!(ask(address, &put(&"x".repeat(5000))).await.starts_with("HTTP/1.1 413"));
    assert!(get_path(address, "/other").await.starts_with("HTTP/1.1 404"));
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
