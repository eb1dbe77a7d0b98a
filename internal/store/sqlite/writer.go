package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
)

// maxBatch bounds how many Updates share one commit, and so how long the first
// of them waits for the others.
const maxBatch = 256

// errNested answers an Update called from inside an Update, which would wait
// for itself.
var errNested = errors.New("sqlite: Update called inside Update")

// insideUpdate marks the context of a running closure.
type insideUpdate struct{}

// writer owns the one connection that writes.
type writer struct {
	session *session // owned by run
	log     *slog.Logger
	queue   chan *request
	scrubs  chan chan error // see Store.Scrub
	stop    chan struct{}
	dead    chan struct{} // closed when run has ended
	once    sync.Once
}

// request is one Update on its way through the writer.
type request struct {
	ctx    context.Context
	fn     func(context.Context, store.Tx) error
	taken  atomic.Bool // by the writer, to run it, or by the caller, to give up
	result error       // of fn; owned by the writer until answered
	done   chan error  // holds the one answer
}

func newWriter(s *session, o Options) *writer {
	return &writer{session: s, log: o.Log, queue: make(chan *request, o.QueueSize), scrubs: make(chan chan error),
		stop: make(chan struct{}), dead: make(chan struct{})}
}

func (w *writer) start() { go w.run() }

// close stops the writer after the batch under way and waits for it.
func (w *writer) close() {
	w.once.Do(func() { close(w.stop) })
	<-w.dead
}

func (w *writer) update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if ctx.Value(insideUpdate{}) != nil {
		return errNested
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sqlite: update: %w", err)
	}
	select {
	case <-w.stop:
		return ErrClosed
	default:
	}
	r := &request{ctx: ctx, fn: fn, done: make(chan error, 1)}
	select {
	case w.queue <- r:
	case <-w.dead:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("sqlite: the write queue is full: %w", ctx.Err())
	}
	select {
	case err := <-r.done:
		return err
	case <-w.dead:
		return r.lastWord()
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) {
			return fmt.Errorf("sqlite: update not begun: %w", ctx.Err())
		}
	}
	select { // it runs or has run: only the commit can tell
	case err := <-r.done:
		return err
	case <-w.dead:
		return r.lastWord()
	}
}

// lastWord is the answer given just before the writer ended, if there is one.
func (r *request) lastWord() error {
	select {
	case err := <-r.done:
		return err
	default:
		return ErrClosed
	}
}

// run is the writer's goroutine.
func (w *writer) run() {
	defer close(w.dead)
	for {
		select {
		case <-w.stop:
			return
		case r := <-w.queue:
			w.batch(r)
		case done := <-w.scrubs:
			done <- w.scrub()
		}
	}
}

// batch runs first, and all that wait behind it, in one transaction.
func (w *writer) batch(first *request) {
	if err := w.session.command("BEGIN IMMEDIATE"); err != nil {
		first.answer(fmt.Errorf("sqlite: begin: %w", err))
		return
	}
	var ran []*request
	var broken error
	changed := false
	for r := first; r != nil && broken == nil; r = w.next(len(ran)) {
		if !r.taken.CompareAndSwap(false, true) {
			continue // its caller has gone
		}
		ran = append(ran, r)
		r.result, broken = w.one(r)
		changed = changed || r.result == nil
	}
	if broken == nil {
		broken = w.finish(changed)
	}
	if broken != nil {
		// Whether or not SQLite has rolled back by itself: after this no
		// transaction is open.
		_ = w.session.command("ROLLBACK")
		w.log.Error("a batch of changes was lost", "updates", len(ran), "error", broken)
	}
	for _, r := range ran {
		if broken != nil {
			r.answer(broken)
			continue
		}
		r.answer(r.result)
	}
}

// next is the next request that waits, nil if none does or the batch is full.
func (w *writer) next(have int) *request {
	if have >= maxBatch {
		return nil
	}
	select {
	case r := <-w.queue:
		return r
	default:
		return nil
	}
}

// finish ends the transaction; a batch of refusals leaves nothing to sync.
func (w *writer) finish(changed bool) error {
	if !changed {
		return w.session.command("ROLLBACK")
	}
	if err := w.session.command("COMMIT"); err != nil {
		return fmt.Errorf("sqlite: commit: %w", err)
	}
	return nil
}

// one runs a closure in its savepoint. broken says that the transaction itself
// is lost, and with it the whole batch.
func (w *writer) one(r *request) (result, broken error) {
	if err := r.ctx.Err(); err != nil {
		return fmt.Errorf("sqlite: update not begun: %w", err), nil
	}
	if err := w.session.command("SAVEPOINT one_update"); err != nil {
		return nil, fmt.Errorf("sqlite: savepoint: %w", err)
	}
	t := &transaction{session: w.session}
	result = sqlstore.Run(context.WithValue(r.ctx, insideUpdate{}, true), w.log, t, r.fn)
	if t.failed != nil && result == nil {
		result = t.failed // fn passed over it
	}
	if result != nil {
		if err := w.session.command("ROLLBACK TO one_update"); err != nil {
			return result, errors.Join(result, fmt.Errorf("sqlite: the transaction is lost: %w", err))
		}
	}
	if err := w.session.command("RELEASE one_update"); err != nil {
		return result, fmt.Errorf("sqlite: release: %w", err)
	}
	return result, nil
}

func (r *request) answer(err error) { r.done <- err }
