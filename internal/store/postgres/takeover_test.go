package postgres

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// takenAtOnce is how many calls one transaction takes over, as a node does.
const takenAtOnce = 25

// talking writes calls of a node that talk, each with its state.
func talking(t *testing.T, s *Store, node string, n int) {
	t.Helper()
	for at := 0; at < n; at += 500 {
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for i := at; i < min(n, at+500); i++ {
				c := masking.Call{ID: masking.CallID(fmt.Sprintf("call_%s_%05d", node, i)), Tenant: "acme", VirtualNumber: storetest.Virtual(1),
					Caller: storetest.Person(1), Node: node, StartedAt: storetest.Start().Add(time.Duration(i) * time.Millisecond)}
				if _, err := tx.BeginCall(ctx, c); err != nil {
					return err
				}
				c.AnsweredAt = c.StartedAt.Add(time.Second)
				if _, err := tx.AnswerCall(ctx, c); err != nil {
					return err
				}
				if _, err := tx.KeepCallState(ctx, c, []byte("state")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// takeAll takes all calls of a node over, a few at a time, and gives how many
// transactions that took and how many rows they were given.
func takeAll(t *testing.T, s *Store, from, to string) (transactions, rows int) {
	t.Helper()
	for {
		some := 0
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			open, err := tx.OpenCalls(ctx, from, takenAtOnce)
			if err != nil {
				return err
			}
			ids := make([]masking.CallID, len(open))
			for i, c := range open {
				ids[i] = c.ID
			}
			states, err := tx.CallStates(ctx, ids)
			if err != nil {
				return err
			}
			for _, c := range open {
				if moved, err := tx.MoveCall(ctx, c, to); err != nil || !moved {
					return fmt.Errorf("moved %v: %w", moved, err)
				}
			}
			some, rows = len(open), rows+len(open)+len(states)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		transactions++
		if some < takenAtOnce {
			return transactions, rows
		}
	}
}

// visited is how many entries of the index of calls by node were read so far.
func visited(t *testing.T, url string) (n int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for { // a connection that ends reports what it has read, a moment later
		var others int
		err := conn.QueryRow(t.Context(), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
			AND backend_type = 'client backend'`).Scan(&others)
		if err != nil {
			t.Fatal(err)
		}
		if others == 0 {
			break
		}
	}
	if err := conn.QueryRow(t.Context(), `SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'call_node'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A node that dies with thousands of talks must not cost more for each of them than one
// that dies with a few; others carry thousands as well.
func TestATakeoverOfThousandsOfCallsReadsNoMoreForEachThanOneOfHundreds(t *testing.T) {
	pg := server.Start(t)
	url := pg.URL(migrated(t, pg))
	through := func(fn func(s *Store)) {
		t.Helper()
		s, err := Open(t.Context(), Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		fn(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	through(func(s *Store) {
		if err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			return tx.InsertTenant(ctx, storetest.Tenant(t, "acme"))
		}); err != nil {
			t.Fatal(err)
		}
		talking(t, s, "lives", 1000)
	})
	for i, n := range []int{500, 5000} {
		node := fmt.Sprint("dead-", i)
		through(func(s *Store) { talking(t, s, node, n) })
		before := visited(t, url)
		var transactions, rows int
		begun := time.Now()
		through(func(s *Store) { transactions, rows = takeAll(t, s, node, "heir") })
		took, read := time.Since(begun), visited(t, url)-before
		t.Logf("%d calls in %v: %d transactions, %d rows given, %d entries of the index read", n, took, transactions, rows, read)
		if transactions != n/takenAtOnce+1 || rows != 2*n {
			t.Errorf("%d calls took %d transactions and %d rows", n, transactions, rows)
		}
		// Each entry is seen when its call is taken, and once more before it is known to be dead.
		if read > int64(3*n) {
			t.Errorf("%d calls made %d entries of the index be read", n, read)
		}
	}
}
