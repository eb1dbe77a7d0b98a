package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// pastCalls writes calls that have ended, each with an event.
func pastCalls(t *testing.T, s *Store, n int) {
	t.Helper()
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, storetest.Tenant(t, "acme")); err != nil {
			return err
		}
		for i := range n {
			c := masking.Call{ID: storetest.CallID(i + 1), Tenant: "acme", VirtualNumber: storetest.Virtual(1), Caller: storetest.Person(1), Node: "n",
				StartedAt: storetest.Start().Add(time.Duration(i) * time.Second)}
			if _, err := tx.BeginCall(ctx, c); err != nil {
				return err
			}
			c.EndedAt, c.Cause = c.StartedAt, masking.CauseCallerHungUp
			if _, err := tx.EndCall(ctx, c); err != nil {
				return err
			}
			e := masking.Event{ID: masking.EventID(fmt.Sprint("evt_", i)), Type: masking.EventCallCompleted, Tenant: "acme", Call: c.ID, At: c.StartedAt, Data: []byte("{}")}
			if err := tx.AppendEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func forgetCalls(limit int, n *int) func(context.Context, store.Tx) error {
	return func(ctx context.Context, tx store.Tx) (err error) {
		*n, err = tx.ForgetCalls(ctx, "acme", storetest.Start().Add(time.Hour), limit)
		return err
	}
}

// Every node removes what is old: side by side, none waits for another, and no row is
// removed or counted twice.
func TestNodesThatForgetAtOnceTakeDifferentRows(t *testing.T) {
	pg := server.Start(t)
	s := open(t, Options{URL: pg.URL(pg.Database(t, ""))})
	pastCalls(t, s, 10)
	var first, second, third int
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := forgetCalls(4, &first)(ctx, tx); err != nil {
			return err
		}
		// Another node, while this one has not committed.
		return s.Update(t.Context(), forgetCalls(4, &second))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), forgetCalls(4, &third)); err != nil {
		t.Fatal(err)
	}
	if first != 4 || second != 4 || third != 2 {
		t.Errorf("removed %d, %d beside, %d after, of 10", first, second, third)
	}
}

// With plans that pass an index over only where there is none, since the tables here are
// small.
func TestWhatIsOldIsFoundByAnIndex(t *testing.T) {
	pg := server.Start(t)
	s := open(t, Options{URL: pg.URL(pg.Database(t, ""))})
	pastCalls(t, s, 10)
	before := storetest.Start().Add(time.Hour)
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.AnyOutlived(ctx, "acme", before); err != nil {
			return err
		}
		for _, forget := range []func(context.Context, masking.TenantID, time.Time, int) (int, error){tx.ForgetEvents, tx.ForgetCalls, tx.ForgetAllocations} {
			if _, err := forget(ctx, "acme", before, 5); err != nil {
				return err
			}
		}
		for _, forget := range []func(context.Context, time.Time, int) (int, error){tx.ForgetReplays, tx.ForgetTries, tx.ForgetPaces} {
			if _, err := forget(ctx, before, 5); err != nil {
				return err
			}
		}
		_, err := tx.ForgetDeliveries(ctx, masking.DeliveryDelivered, before, 5)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	plans := 0
	s.texts.byText.Range(func(_, text any) bool {
		plain := strings.Join(strings.Fields(text.(string)), " ")
		if !strings.Contains(plain, "SKIP LOCKED") && !strings.HasPrefix(plain, "SELECT 1 FROM call k") && !strings.HasPrefix(plain, "SELECT 1 FROM event e") &&
			!strings.HasPrefix(plain, "SELECT 1 FROM allocation a") && !strings.HasPrefix(plain, "DELETE FROM delivery") {
			return true
		}
		plans++
		plan := explain(t, s, plain)
		if strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s\n%s", plain, plan)
		}
		return true
	})
	if plans < 9 {
		t.Errorf("%d statements were seen", plans)
	}
}

// explain gives the plan of a statement without its values.
func explain(t *testing.T, s *Store, text string) string {
	t.Helper()
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	places := strings.TrimSuffix(strings.Repeat("NULL, ", strings.Count(text, "$")), ", ")
	for _, set := range []string{`SET enable_seqscan = off`, `SET plan_cache_mode = force_generic_plan`, `PREPARE seen AS ` + text} {
		if _, err := conn.Exec(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.Query(t.Context(), `EXPLAIN EXECUTE seen(`+places+`)`)
	if err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `DEALLOCATE seen`); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
