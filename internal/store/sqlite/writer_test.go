package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"modernc.org/sqlite"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
)

// hold makes the writer busy, until the function that it gives is called.
func (s *Store) hold(t *testing.T) (release func()) {
	t.Helper()
	busy, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Update(t.Context(), func(context.Context, store.Tx) error {
			close(busy)
			<-goOn
			return nil
		})
	}()
	<-busy
	return func() {
		t.Helper()
		close(goOn)
		if err := <-done; err != nil {
			t.Errorf("the update that held the writer: %v", err)
		}
	}
}

// queued waits until that many updates wait for the writer.
func (s *Store) queued(n int) {
	for len(s.writer.queue) < n {
		runtime.Gosched()
	}
}

// batch runs updates in one transaction, in their order, after an empty one
// that holds the writer until all of them wait. It gives their errors; that of
// the empty one, which shares their fate, comes last.
func (s *Store) batch(t *testing.T, fns ...func(context.Context, store.Tx) error) []error {
	t.Helper()
	busy, goOn := make(chan struct{}), make(chan struct{})
	errs := make([]error, len(fns)+1)
	var wg sync.WaitGroup
	wg.Go(func() {
		errs[len(fns)] = s.Update(t.Context(), func(context.Context, store.Tx) error { close(busy); <-goOn; return nil })
	})
	<-busy
	for i, fn := range fns {
		wg.Go(func() { errs[i] = s.Update(t.Context(), fn) })
		s.queued(i + 1)
	}
	close(goOn)
	wg.Wait()
	return errs
}

func insertTrunk(name string) func(context.Context, store.Tx) error {
	return func(ctx context.Context, tx store.Tx) error {
		return tx.InsertTrunk(ctx, masking.Trunk{Name: name, Transport: masking.UDP, NumberFormat: masking.FormatE164})
	}
}

// trunkNames are the names of the trunks that are there.
func (s *Store) trunkNames(t *testing.T) string {
	t.Helper()
	var names []string
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		all, err := tx.Trunks(ctx)
		for _, v := range all {
			names = append(names, v.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestUpdatesThatWaitTogetherShareOneCommit(t *testing.T) {
	s := openTemp(t, Options{})
	var commits atomic.Int64
	err := s.sessions[len(s.sessions)-1].conn.Raw(func(c any) error {
		c.(interface {
			RegisterCommitHook(sqlite.CommitHookFn)
		}).RegisterCommitHook(func() int32 { commits.Add(1); return 0 })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var fns []func(context.Context, store.Tx) error
	for i := range 50 {
		fns = append(fns, insertTrunk(fmt.Sprintf("t%02d", i)))
	}
	for i, err := range s.batch(t, fns...) {
		if err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	}
	if n := commits.Load(); n != 1 {
		t.Errorf("%d commits", n)
	}
	if n := len(strings.Fields(s.trunkNames(t))); n != 50 {
		t.Errorf("%d of 50 changes are there", n)
	}
	if refusals := s.batch(t, insertTrunk("t00"), insertTrunk("t01")); masking.KindOf(refusals[0]) != masking.Conflict {
		t.Errorf("a taken name: %v", refusals[0])
	}
}

func TestAFailureInABatchTakesNobodyElseAlong(t *testing.T) {
	s := openTemp(t, Options{})
	own := errors.New("its own")
	errs := s.batch(t,
		insertTrunk("a"),
		func(ctx context.Context, tx store.Tx) error { return errors.Join(insertTrunk("b")(ctx, tx), own) },
		insertTrunk("a"), // sees the first of its batch
		func(ctx context.Context, tx store.Tx) error {
			if err := insertTrunk("c")(ctx, tx); err != nil {
				return err
			}
			panic("+919955501234")
		},
		insertTrunk("d"))
	if errs[0] != nil || errs[4] != nil || !errors.Is(errs[1], own) || masking.KindOf(errs[2]) != masking.Conflict {
		t.Errorf("errors: %v", errs)
	}
	if errs[3] == nil || strings.Contains(errs[3].Error(), "99555") {
		t.Errorf("the panic: %v", errs[3])
	}
	if got := s.trunkNames(t); got != "a d" {
		t.Errorf("there are %q", got)
	}
}

// transactionOf is what a closure of Update writes by.
func transactionOf(tx store.Tx) *transaction { return tx.(*sqlstore.Tx).Conn().(*transaction) }

func TestAFailedCommitAnswersTheWholeBatchWithAnError(t *testing.T) {
	s := openTemp(t, Options{})
	errs := s.batch(t,
		insertTrunk("a"),
		func(ctx context.Context, v store.Tx) error {
			// An orphan that is noticed at the commit, for want of a broken disk.
			w := transactionOf(v)
			if err := w.command("PRAGMA defer_foreign_keys = 1"); err != nil {
				return err
			}
			_, err := w.Exec(ctx, `INSERT INTO token (id, tenant, label, hash, created_at) VALUES ('t', 'nobody', '', x'', 0)`, nil)
			return err
		},
		insertTrunk("b"))
	for i, err := range errs {
		if err == nil || masking.KindOf(err) != "" {
			t.Errorf("update %d: %v, want a plain error", i, err)
		}
	}
	if got := s.trunkNames(t); got != "" {
		t.Errorf("there are %q", got)
	}
	if err := s.Update(t.Context(), insertTrunk("c")); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestATransactionThatSQLiteRolledBackTakesTheBatchAlongAndIsNotGoneOnWith(t *testing.T) {
	s := openTemp(t, Options{})
	ran := false
	errs := s.batch(t,
		insertTrunk("before"),
		func(ctx context.Context, v store.Tx) error {
			if err := insertTrunk("a")(ctx, v); err != nil {
				return err
			}
			w := transactionOf(v)
			if err := w.command("ROLLBACK"); err != nil { // as SQLite does on a full disk
				return err
			}
			_ = w.note(errors.New("database or disk is full"))
			_ = insertTrunk("b")(ctx, v) // passes over the error
			_ = v.Hold(ctx, masking.Allocation{ID: "gvn_x"}, masking.Shared, storetest.Start())
			ran = true
			return nil
		})
	if !ran {
		t.Error("the closure did not run to its end")
	}
	for i, err := range errs {
		if err == nil || masking.KindOf(err) != "" {
			t.Errorf("update %d: %v, want a plain error", i, err)
		}
	}
	if got := s.trunkNames(t); got != "" {
		t.Errorf("there are %q", got)
	}
	if err := s.Update(t.Context(), insertTrunk("c")); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestAnUpdateInsideAnUpdateIsRefusedAndDoesNotHang(t *testing.T) {
	s := openTemp(t, Options{})
	err := s.Update(t.Context(), func(ctx context.Context, _ store.Tx) error {
		return s.View(ctx, func(ctx context.Context, _ store.Reader) error {
			return s.Update(ctx, insertTrunk("a"))
		})
	})
	if !errors.Is(err, errNested) {
		t.Errorf("got %v", err)
	}
}

func TestAFullDiskIsAPlainErrorAndTheStoreGoesOnWhenThereIsRoom(t *testing.T) {
	s := withPool(t, Options{})
	limit := func(pages int) {
		t.Helper()
		// The writer is idle: nobody else uses its connection now.
		_, err := s.sessions[len(s.sessions)-1].conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages))
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // SQLite takes it as the present size
	create := func(i int) error {
		return storetest.Create(t.Context(), s, storetest.Allocation("acme", storetest.AllocationID(i), storetest.Virtual(2),
			storetest.People(2*i), storetest.People(2*i+1)), storetest.Start())
	}
	made := 0
	for ; made < 10_000; made++ {
		err := create(made)
		if err == nil {
			continue
		}
		if masking.KindOf(err) != "" {
			t.Fatalf("a full disk: %v", err)
		}
		break
	}
	if made == 0 || made == 10_000 {
		t.Fatalf("%d creates before the disk was full", made)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	limit(1 << 30)
	if err := create(made); err != nil {
		t.Errorf("with room again: %v", err)
	}
	var listed []masking.Allocation
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
		listed, err = tx.Allocations(ctx, store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN})
		return err
	})
	if err != nil || len(listed) != made+1 {
		t.Errorf("%d allocations, want %d; %v", len(listed), made+1, err)
	}
}

func TestAFullQueueWaitsForTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openTemp(t, Options{QueueSize: 1})
		release := s.hold(t)
		waiting, refused := make(chan error, 1), make(chan error, 1)
		go func() { waiting <- s.Update(t.Context(), insertTrunk("a")) }()
		synctest.Wait() // it waits in the queue, which is full now
		ctx, cancel := context.WithCancel(t.Context())
		go func() { refused <- s.Update(ctx, insertTrunk("b")) }()
		synctest.Wait() // it waits for a place
		cancel()
		if err := <-refused; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "queue is full") {
			t.Errorf("got %v", err)
		}
		release()
		if err := <-waiting; err != nil {
			t.Errorf("the one in the queue: %v", err)
		}
		if got := s.trunkNames(t); got != "a" {
			t.Errorf("there are %q", got)
		}
	})
}

func TestAnUpdateCancelledInTheQueueNeverRuns(t *testing.T) {
	s := openTemp(t, Options{})
	release := s.hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	errc := make(chan error, 1)
	go func() { errc <- s.Update(ctx, insertTrunk("a")) }()
	s.queued(1)
	cancel()
	if err := <-errc; !errors.Is(err, context.Canceled) { // before the writer is free
		t.Errorf("got %v", err)
	}
	release()
	if err := s.Update(t.Context(), insertTrunk("b")); err != nil {
		t.Fatal(err)
	}
	if got := s.trunkNames(t); got != "b" {
		t.Errorf("there are %q", got)
	}
}

func TestAnUpdateCancelledWhileItRunsTellsWhatBecameOfIt(t *testing.T) {
	s := openTemp(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		err := insertTrunk("a")(ctx, tx)
		cancel()
		return err
	})
	if err != nil { // nothing of it failed, so it is committed
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := insertTrunk("b")(ctx, tx); err != nil {
			return err
		}
		cancel()
		_ = insertTrunk("c")(ctx, tx) // passes over the error
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := s.trunkNames(t); got != "a" {
		t.Errorf("there are %q", got)
	}
}

func TestAnUpdateThatEndsTheWritersGoroutineStopsTheStoreAndHangsNobody(t *testing.T) {
	s := openTemp(t, Options{})
	errs := s.batch(t, func(context.Context, store.Tx) error { runtime.Goexit(); return nil }, insertTrunk("a"))
	for i, err := range errs {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("update %d: %v", i, err)
		}
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a store without a writer is ready")
	}
	if got := s.trunkNames(t); got != "" {
		t.Errorf("there are %q", got)
	}
}

func TestClosingAnswersThoseWhoWait(t *testing.T) {
	s := openTemp(t, Options{})
	release := s.hold(t)
	waiting, closed := make(chan error, 1), make(chan error, 1)
	go func() { waiting <- s.Update(t.Context(), insertTrunk("a")) }()
	s.queued(1)
	go func() { closed <- s.Close() }()
	for s.View(t.Context(), func(context.Context, store.Reader) error { return nil }) == nil {
		runtime.Gosched() // until Close has begun
	}
	release()
	if err := <-waiting; err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("the waiting update: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestAPanicIsLoggedWithoutItsValue(t *testing.T) {
	var log strings.Builder
	s := openTemp(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	err := s.Update(t.Context(), func(context.Context, store.Tx) error { panic("+919955501234") })
	if err == nil {
		t.Fatal("no error")
	}
	if err := s.Close(); err != nil { // the writer has ended: its log may be read
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "an update panicked") || strings.Contains(log.String(), "99555") {
		t.Errorf("log: %s", log.String())
	}
}

func TestAViewWaitsForAReaderNoLongerThanItsContext(t *testing.T) {
	s := openTemp(t, Options{Readers: 1})
	err := s.View(t.Context(), func(ctx context.Context, _ store.Reader) error {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		err := s.View(ctx, func(context.Context, store.Reader) error { return nil })
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the second View: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// endless is a statement that never ends by itself.
const endless = `WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT 1 FROM n WHERE x < 0`

func TestViewsThatHangDelayNoCallAndMakeNoNodeUnready(t *testing.T) {
	s := withPool(t, Options{Readers: 2})
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan error)
	const views = 6 // more than there are readers: the others wait for one
	for range views {
		go func() {
			ended <- s.View(ctx, func(ctx context.Context, tx store.Reader) error {
				begun <- struct{}{}
				var one int
				return tx.(*sqlstore.Reader).Conn().Row(ctx, endless, nil, &one)
			})
		}()
	}
	<-begun
	<-begun
	for range 100 {
		if _, err := s.Route(t.Context(), storetest.Virtual(1), storetest.Person(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	for range views {
		select {
		case <-begun: // a reader and the end of ctx came at once
			<-ended
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a View that was given up: %v", err)
			}
		}
	}
	// The readers are as good as before.
	if got := s.trunkNames(t); got != "" {
		t.Errorf("there are %q", got)
	}
}

func TestARouteWaitsForAConnectionNoLongerThanItsContext(t *testing.T) {
	s := withPool(t, Options{Routers: 1})
	r, err := s.routers.take(t.Context(), s.closing)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Route(ctx, storetest.Virtual(1), storetest.Person(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.routers.put(r)
	if _, err := s.Route(t.Context(), storetest.Virtual(1), storetest.Person(1)); err != nil {
		t.Error(err)
	}
}

func TestAReaderCannotWrite(t *testing.T) {
	s := openTemp(t, Options{Readers: 1})
	_, err := s.sessions[0].conn.ExecContext(t.Context(), `DELETE FROM tenant`)
	if err == nil {
		t.Error("a reader's connection wrote")
	}
}
