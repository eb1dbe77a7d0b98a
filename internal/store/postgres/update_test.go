package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// withPool is an open store with storetest.Acme.
func withPool(t testing.TB, o Options) *Store {
	t.Helper()
	s := open(t, o)
	storetest.Acme(t, s)
	return s
}

// connOf is what a closure of Update writes by.
func connOf(tx store.Tx) *transaction { return tx.(*sqlstore.Tx).Conn().(*transaction) }

// refuse makes the server refuse the next statement of a transaction with a code.
func refuse(ctx context.Context, tx store.Tx, code string) error {
	t := connOf(tx)
	_, err := t.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'a test' USING ERRCODE = '`+code+`'; END $$`, nil)
	return err
}

func TestWhatIsUrgentWaitsForNobodysConnection(t *testing.T) {
	srv := server.Start(t)
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv))) + "&pool_max_conns=2"})
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
				_, err := tx.Tenant(ctx, "acme")
				held <- struct{}{}
				<-release
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-held
	}
	n := masking.Node{ID: "n1", StartedAt: storetest.Start(), SeenAt: storetest.Start()}
	err := s.Update(store.Urgent(t.Context()), func(ctx context.Context, tx store.Tx) error {
		_, err := tx.JoinNode(ctx, n, masking.Node{})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	close(release)
	wg.Wait()
}

func TestAnUpdateThatMetAnotherIsRunAgainWhereverItMet(t *testing.T) {
	srv := server.Start(t)
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv)))})
	for _, code := range []string{serializationFailure, deadlockDetected} {
		for _, place := range []string{"first", "after writes", "in a savepoint", "passed over"} {
			t.Run(code+" "+place, func(t *testing.T) {
				runs := 0
				name := "trunk-" + code + "-" + strings.ReplaceAll(place, " ", "-")
				err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
					runs++
					if runs > 3 {
						return tx.InsertTrunk(ctx, trunk(name))
					}
					switch place {
					case "after writes":
						if err := tx.InsertTrunk(ctx, trunk(name)); err != nil {
							return err
						}
					case "in a savepoint":
						return connOf(tx).Try(ctx, func() error { return refuse(ctx, tx, code) })
					case "passed over":
						_ = refuse(ctx, tx, code)
						return nil
					}
					return refuse(ctx, tx, code)
				})
				if err != nil || runs != 4 {
					t.Fatalf("after %d runs: %v", runs, err)
				}
				if err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error { _, err := tx.Trunk(ctx, name); return err }); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestAnUpdateThatCanNeverSucceedIsRunOnce(t *testing.T) {
	srv := server.Start(t)
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv)))})
	type secret struct{ number string }
	person := secret{storetest.Person(7).E164()}
	for name, text := range map[string]string{"a value that does not go into its place": `SELECT 1 FROM event WHERE cursor = ?`, "no SQL": `SELEC ?`} {
		runs := 0
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			runs++
			var one int
			return connOf(tx).Row(ctx, text, []any{person}, &one)
		})
		if err == nil || runs != 1 || strings.Contains(err.Error(), person.number[1:]) {
			t.Errorf("%s: %d runs, %v", name, runs, err)
		}
	}
}

func trunk(name string) masking.Trunk {
	return masking.Trunk{Name: name, Transport: masking.UDP, NumberFormat: masking.FormatE164, CreatedAt: storetest.Start(), UpdatedAt: storetest.Start()}
}

func TestAnErrorOfTheServerTellsNoValue(t *testing.T) {
	srv := server.Start(t)
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv)))})
	person := storetest.Person(7).E164()
	for name, text := range map[string]string{
		"a value of the wrong kind": `SELECT CAST('` + person + `x' AS BIGINT)`,
		"a taken key":               `INSERT INTO virtual_number SELECT * FROM virtual_number`,
		"a message":                 `DO $$ BEGIN RAISE EXCEPTION '` + person + `'; END $$`,
	} {
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			_, err := connOf(tx).Exec(ctx, text, nil)
			return err
		})
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), "9199") || strings.Contains(err.Error(), "9180") {
			t.Errorf("%s: %v", name, err)
		}
		var said *pgconn.PgError
		if errors.As(err, &said) {
			t.Errorf("%s: the server's own error can be taken out", name)
		}
	}
}

// Events of many writers, read while they write, by readers who go on from the last
// cursor they have seen: none is missed, and those of one allocation come in order.
func TestWhoReadsEventsFromACursorOnMissesNone(t *testing.T) {
	srv := server.Start(t)
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv)))})
	const writers, each = 12, 40
	var written sync.WaitGroup
	var failed atomic.Pointer[error]
	for w := range writers {
		written.Go(func() {
			for i := range each {
				err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
					a := storetest.Allocation("acme", storetest.AllocationID(w), storetest.Virtual(2), nil, nil)
					// Some transactions stay open for longer than others.
					if _, err := connOf(tx).Exec(ctx, `SELECT pg_sleep(?)`, []any{float64((w*7+i)%5) / 1000}); err != nil {
						return err
					}
					e := masking.AllocationEvent(storetest.EventID(w*each+i), masking.EventUpdated, a, time.UTC, "", storetest.Start())
					return tx.AppendEvent(ctx, e)
				})
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { written.Wait(); close(done) }()
	var seen []masking.EventID
	var cursor int64
	for last := false; !last; {
		select {
		case <-done:
			last = true // and once more
		default:
		}
		for more := true; more; {
			err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
				page, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", After: cursor, Limit: 50})
				for _, e := range page {
					if e.Cursor <= cursor {
						return fmt.Errorf("cursor %d after %d", e.Cursor, cursor)
					}
					cursor = e.Cursor
					seen = append(seen, e.ID)
				}
				more = len(page) == 50
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	var want []masking.EventID
	for i := range writers * each {
		want = append(want, storetest.EventID(i))
	}
	byWriter := make([][]masking.EventID, writers)
	for _, id := range seen {
		w := slices.Index(want, id) / each
		byWriter[w] = append(byWriter[w], id)
	}
	if got := slices.Concat(byWriter...); !slices.Equal(got, want) {
		t.Errorf("of %d events %d were seen, or those of a writer not in order", len(want), len(seen))
	}
}

// The server is killed while clients write: what was acknowledged is there, and the
// store goes on by itself when the server is back.
func TestWhatWasAcknowledgedOutlivesAKillOfTheServer(t *testing.T) {
	srv := server.Start(t, "fsync=on")
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv)))})
	const writers = 8
	var mu sync.Mutex
	told := map[string]bool{}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("w%d-%d", w, i)
				if err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.InsertTrunk(ctx, trunk(name)) }); err == nil {
					mu.Lock()
					told[name] = true
					mu.Unlock()
				}
			}
		})
	}
	acknowledged := func(more int) {
		mu.Lock()
		have := len(told)
		mu.Unlock()
		for deadline := time.Now().Add(30 * time.Second); ; {
			mu.Lock()
			now := len(told)
			mu.Unlock()
			if now >= have+more {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("only %d of %d writes were acknowledged in time", now-have, more)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	for range 3 {
		acknowledged(40)
		srv.Kill()
		srv.Run()
	}
	acknowledged(40)
	close(stop)
	writing.Wait()
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		all, err := tx.Trunks(ctx)
		have := map[string]bool{}
		for _, v := range all {
			have[v.Name] = true
		}
		for name := range told {
			if !have[name] {
				t.Errorf("%s was acknowledged and is gone", name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestALockedRowIsWaitedForAndAClosedStoreRefuses(t *testing.T) {
	srv := server.Start(t)
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv)))})
	a := storetest.Allocation("acme", storetest.AllocationID(1), storetest.Virtual(2), storetest.People(1), storetest.People(2))
	if err := storetest.Create(t.Context(), s, a, storetest.Start()); err != nil {
		t.Fatal(err)
	}
	locked, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			if _, err := tx.Allocation(ctx, "acme", a.ID); err != nil {
				return err
			}
			close(locked)
			<-release
			v := a
			v.CustomField = "first"
			return tx.UpdateAllocation(ctx, v)
		})
	}()
	<-locked
	second := make(chan error, 1)
	go func() {
		second <- s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			v, err := tx.Allocation(ctx, "acme", a.ID)
			if err == nil && v.CustomField != "first" {
				err = fmt.Errorf("read %q while another one changed it", v.CustomField)
			}
			return err
		})
	}()
	for waits := false; !waits; {
		err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
			var n int
			err := tx.(*sqlstore.Reader).Conn().Row(ctx, `SELECT COUNT(*) FROM pg_locks WHERE NOT granted`, nil, &n)
			waits = n > 0
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Error(err)
	}
}

// Statements in PostgreSQL's spelling have a number for each place, in order.
func TestPlacesAreNumbered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[a-z =]{0,5}`), 1, 30).Draw(t, "parts")
		got := (&texts{}).spell(strings.Join(parts, "?"))
		for i := range parts[1:] {
			if !strings.Contains(got, fmt.Sprintf("$%d", i+1)) {
				t.Fatalf("%q has no $%d", got, i+1)
			}
		}
		if strings.Contains(got, "?") {
			t.Fatalf("%q", got)
		}
	})
	if got := (&texts{}).spell("SELECT 1 FROM claim INDEXED BY claim_pin WHERE a = ?"); got != "SELECT 1 FROM claim WHERE a = $1" {
		t.Errorf("got %q", got)
	}
}
