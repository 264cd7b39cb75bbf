//! Accepting connections, and ending without losing a request.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::limits;
use super::routes::App;

/// Serves connections until `stop`. From then on each answer asks its client to end the connection; new connections
/// are taken for a lull more; then nobody is listened to, idle connections end, and answers that are due are waited for.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let router = app.router();
    let (close, closing) = watch::channel(false);
    let time = app.settings.timeout;
    let open = |stream: TcpStream| connection(stream, router.clone(), time, closing.clone());
    let mut connections = JoinSet::new();
    {
        let accepting = accept(&listener, &mut connections, &open);
        tokio::pin!(accepting);
        tokio::select! { () = &mut accepting => {}, () = stop => {} }
        app.closing.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(limits::LULL, accepting).await;
    }
    last_accepted(listener).into_iter().for_each(|stream| drop(connections.spawn(open(stream))));
    tokio::time::sleep(limits::LULL).await;
    // Nobody listens if there is no connection.
    let _ = close.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::GRACE, all).await.is_err() {
        eprintln!("warning: some requests were not answered within {} s", limits::GRACE.as_secs());
    }
}

/// Takes connections for ever.
async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    connections: &mut JoinSet<()>,
    open: &impl Fn(TcpStream) -> F,
) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = open(stream);
                connections.spawn(async move {
                    let _place = place;
                    connection.await;
                });
            }
            // Too many open files, or a client that has gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// What the system has accepted by now; nothing comes after it.
fn last_accepted(listener: TcpListener) -> Vec<TcpStream> {
    let mut accepted = vec![];
    let Ok(listener) = listener.into_std() else { return accepted };
    while let Ok((stream, _)) = listener.accept() {
        // One that cannot be used is a client's that has gone.
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        accepted.extend(stream);
    }
    accepted
}

async fn connection(stream: TcpStream, router: Router, time: Duration, mut closing: watch::Receiver<bool>) {
    // Answers are small; a socket that refuses this is slower, not worse.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(time);
    let connection = protocol.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Errors are those of the client: it has gone, or what it sends is no HTTP and has been told so.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// SIGINT or SIGTERM; a second one ends the program at once.
#[cfg(unix)]
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (stop, mut stopped) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = signals.0.recv() => {}, _ = signals.1.recv() => {} }
            heard(&stop);
        }
    });
    Ok(async move {
        let _ = stopped.wait_for(|times| *times > 0).await;
    })
}

/// Ctrl-C; a second one ends the program at once.
#[cfg(not(unix))]
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (stop, mut stopped) = watch::channel(0);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            heard(&stop);
        }
    });
    Ok(async move {
        let _ = stopped.wait_for(|times| *times > 0).await;
    })
}

fn heard(stop: &watch::Sender<u32>) {
    stop.send_modify(|times| *times += 1);
    if *stop.borrow() > 1 {
        std::process::exit(130);
    }
    eprintln!("stopping when all that was accepted is answered; Ctrl-C again stops at once");
}
