//! A panic is an error for those who wait for that work, and for no later question.

use futures_util::future::join_all;

use super::world::{ID, World, ask};
use crate::fetch::FetchErrorKind;
use crate::resolve::ResolveError;

#[tokio::test]
async fn a_panic_while_asking_is_told_to_all_who_wait_and_then_forgotten() {
    let world = World::new();
    let resolver = world.start();
    assert!(
        resolver
            .context(&"roman-latest".parse().unwrap())
            .wait()
            .await
            .is_ok()
    );
    world.archive.panic_next();
    for answer in join_all((0..10).map(|_| ask(&resolver, ID))).await {
        assert!(matches!(answer, Err(ResolveError::Panicked { .. })), "{answer:?}");
    }
    assert!(ask(&resolver, ID).await.is_ok());
    assert!(ask(&resolver, ID).await.is_ok());
}

#[tokio::test]
async fn a_panic_while_a_catalog_loads_does_not_outlive_it() {
    let world = World::new();
    let resolver = world.start();
    world.archive.panic_next();
    for answer in join_all((0..10).map(|_| ask(&resolver, ID))).await {
        let Err(ResolveError::Fetch(error)) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(error.kind, FetchErrorKind::Store);
        assert!(error.message.contains("panic"), "{error}");
    }
    assert!(ask(&resolver, ID).await.is_ok());
}

/// The futures of a resolver may be polled on any thread: the work that needs the runtime runs in tasks on it.
#[test]
fn rules_are_judged_without_a_runtime_around() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let world = World::new();
    world.archive.declare_bad("roman_wfi_dark_0001.rmap");
    let (resolver, answer) = runtime.block_on(async {
        let resolver = world.start();
        let answer = ask(&resolver, ID).await.unwrap();
        (resolver, answer)
    });
    let file = "dark_1.asdf".parse().unwrap();
    for _ in 0..2 {
        let permit = poll_here(resolver.permit(&answer, &file).wait());
        assert!(permit.is_ok(), "{permit:?}");
    }
}

/// Polls a future to its end on this thread, which has no runtime.
fn poll_here<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let waker = futures_util::task::noop_waker();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}
