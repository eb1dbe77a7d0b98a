package postgres

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tandem/internal/store"
)

// wakeChannel is where nodes tell each other that there is something to look at.
// Nothing goes through it but the name of a topic: what has changed is read.
const wakeChannel = "tandem_wake"

const (
	// wakeEvery bounds how often a topic is told, and heard of: who writes a thousand
	// events a second wakes nobody a thousand times.
	wakeEvery = 50 * time.Millisecond
	// tellWithin bounds how long telling may take: it is worth nothing later.
	tellWithin = time.Second
	// quietFor is how long a listener hears nothing before it asks whether anybody is
	// there: who only listens hears of no host that has died.
	quietFor = 5 * time.Second
	// listenAgain is how long a listener waits before it connects anew.
	listenAgain = time.Second
)

// waker tells other nodes of changes, by NOTIFY on a connection of its own transaction:
// in that of the change it would hold up all others who commit one. And it listens.
type waker struct {
	store *Store
	conn  *pgx.ConnConfig
	ctx   context.Context // of its life; done with stop
	stop  context.CancelFunc
	wg    sync.WaitGroup
	told  *throttle // topics that have changed here
	heard *throttle // topics that have changed anywhere
}

func wake(s *Store, c *pgx.ConnConfig) *waker {
	w := &waker{store: s, conn: c}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.told = newThrottle(wakeEvery, w.tell)
	w.heard = newThrottle(wakeEvery, s.o.Wake)
	w.wg.Go(func() { w.listen(w.ctx) })
	return w
}

func (w *waker) close() {
	w.stop()
	w.wg.Wait()
	w.told.close()
	w.heard.close()
}

// tell tells all nodes, this one too. Where that fails they find out by themselves.
func (w *waker) tell(topic store.Topic) {
	ctx, cancel := context.WithTimeout(w.ctx, tellWithin)
	defer cancel()
	err := w.store.with(ctx, w.store.pool, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SELECT pg_notify($1, $2)`, wakeChannel, string(topic))
		if err != nil {
			return plain(err)
		}
		return nil
	})
	if err != nil {
		w.store.log.Debug("other nodes are not told of a change and find out at their next look", "topic", string(topic), "error", err.Error())
	}
}

// listen hears what is told until ctx is done.
func (w *waker) listen(ctx context.Context) {
	for warned := false; ; warned = true {
		err := w.hear(ctx)
		if ctx.Err() != nil {
			return
		}
		if !warned {
			w.store.log.Info("this node is not woken by others for a while and looks by itself", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenAgain):
		}
	}
}

// hear listens on a connection for as long as it holds.
func (w *waker) hear(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, w.conn)
	if err != nil {
		return plain(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		drop(conn)
		_ = conn.Close(ctx) // nothing is lost with it
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+wakeChannel); err != nil {
		return plain(err)
	}
	for _, topic := range store.Topics { // while nobody listened anything may have been told
		w.heard.soon(topic)
	}
	for {
		n, err := notification(ctx, conn)
		if err != nil {
			return plain(err)
		}
		if topic := store.Topic(n.Payload); slices.Contains(store.Topics, topic) {
			w.heard.soon(topic)
		}
	}
}

// notification waits for what is told, as long as the server is there.
func notification(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	for {
		quiet, cancel := context.WithTimeout(ctx, quietFor)
		n, err := conn.WaitForNotification(quiet)
		cancel()
		if err == nil || ctx.Err() != nil || !pgconn.Timeout(err) {
			return n, err
		}
		within, cancel := context.WithTimeout(ctx, pingWithin)
		err = conn.Ping(within)
		cancel()
		if err != nil {
			return nil, err
		}
	}
}

// throttle does something for a topic soon after it is asked to, and not more often
// than every so long.
type throttle struct {
	every time.Duration
	do    func(store.Topic)

	mu     sync.Mutex
	last   map[store.Topic]time.Time
	due    map[store.Topic]bool
	closed bool
	wg     sync.WaitGroup // those that are due or run
}

func newThrottle(every time.Duration, do func(store.Topic)) *throttle {
	return &throttle{every: every, do: do, last: map[store.Topic]time.Time{}, due: map[store.Topic]bool{}}
}

func (t *throttle) soon(topic store.Topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due[topic] || t.closed {
		return
	}
	t.due[topic] = true
	t.wg.Add(1)
	time.AfterFunc(max(0, t.every-time.Since(t.last[topic])), func() {
		defer t.wg.Done()
		t.mu.Lock()
		t.due[topic], t.last[topic] = false, time.Now()
		t.mu.Unlock()
		t.do(topic)
	})
}

func (t *throttle) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}
