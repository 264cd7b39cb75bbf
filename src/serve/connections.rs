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
#[cfg(unix)]
use tokio::signal::unix;
#[cfg(windows)]
use tokio::signal::windows;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::limits;
use super::routes::App;
use super::timed::Timed;

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
    let connection = protocol.serve_connection(TokioIo::new(Timed::new(stream, time)), service);
    tokio::pin!(connection);
    // Errors are those of the client: it has gone, or what it sends is no HTTP and has been told so.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Ctrl-C or SIGTERM; a second one ends the program at once.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::listen()?;
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        signals.next().await;
        eprintln!("stopping when all that was accepted is answered; Ctrl-C again stops at once");
        // Whoever waits for it may have ended already.
        let _ = stop.send(());
        signals.next().await;
        std::process::exit(130);
    });
    Ok(async move {
        let _ = stopped.await;
    })
}

/// What asks the program to end: SIGINT and SIGTERM.
#[cfg(unix)]
struct Signals([unix::Signal; 2]);

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Signals> {
        let kinds = [unix::SignalKind::interrupt(), unix::SignalKind::terminate()];
        Ok(Signals([unix::signal(kinds[0])?, unix::signal(kinds[1])?]))
    }

    async fn next(&mut self) {
        let Signals([interrupt, terminate]) = self;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    }
}

/// What asks the program to end: Ctrl-C.
#[cfg(windows)]
struct Signals(windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Signals> {
        windows::ctrl_c().map(Signals)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
