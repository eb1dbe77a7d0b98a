package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// deadline bounds what would else hang until the test's own end.
const deadline = 2 * time.Minute

// works runs something until it does what it should, as those do who do it again and again.
func works(t *testing.T, what string, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	over := make(chan error, 1)
	go func() {
		for {
			err := do(context.Background()) // as that of a loop, which has no end
			if err == nil || ctx.Err() != nil {
				over <- err
				return
			}
		}
	}()
	select {
	case err := <-over:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-ctx.Done():
		t.Fatalf("%s hangs", what)
	}
}

// crowd has n connections of a pool in use at once.
func crowd(t *testing.T, s *Store, n int) {
	t.Helper()
	var all, each sync.WaitGroup
	all.Add(n)
	for range n {
		each.Go(func() {
			err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
				_, err := tx.Tenants(ctx)
				all.Done()
				all.Wait()
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	each.Wait()
}

// The primary loses its power, and another server has its address: nobody says goodbye to
// the connections that there are.
func TestWhatIsConnectedToAHostThatDiesIsGivenUpAndAllGoesOnAtTheNext(t *testing.T) {
	t.Parallel() // it mostly waits
	srv := server.Start(t)
	database := srv.Database(t, migrated(t, srv))
	way := server.NewTunnel(t, srv.Port)
	heard := make(woken, 1000)
	s := withPool(t, Options{URL: way.URL(database), Within: 3 * time.Second, Opening: sqlstore.Opening{Wake: heard.wake}})
	heard.all(t)
	crowd(t, s, 12)

	begun, died := make(chan bool), make(chan bool)
	waiting := make(chan error, 2)
	go func() {
		waiting <- s.View(context.Background(), func(ctx context.Context, tx store.Reader) error {
			_, err := tx.Tenants(ctx)
			begun <- true
			<-died
			return errors.Join(err, func() error { _, err := tx.Tenants(ctx); return err }())
		})
	}()
	go func() {
		first := true
		waiting <- s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
			if err := tx.InsertTrunk(ctx, trunk("under-way")); err != nil || !first {
				return err
			}
			first = false
			begun <- true
			<-died
			_, err := tx.Tenants(ctx)
			return err
		})
	}()
	<-begun
	<-begun
	if n := way.Die(); n < 13 {
		t.Fatalf("%d were connected", n)
	}
	close(died)

	node := masking.Node{ID: "n1", StartedAt: storetest.Start(), SeenAt: storetest.Start()}
	works(t, "a sign of life", func(ctx context.Context) error {
		return s.Update(store.Urgent(ctx), func(ctx context.Context, tx store.Tx) error {
			_, err := tx.JoinNode(ctx, node, masking.Node{})
			return err
		})
	})
	works(t, "a look whether it is there", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return s.Ready(ctx)
	})
	works(t, "a call's read", func(ctx context.Context) error {
		_, err := s.Route(ctx, storetest.Virtual(1), storetest.Person(1))
		return err
	})
	works(t, "a read", func(ctx context.Context) error {
		return s.View(ctx, func(ctx context.Context, tx store.Reader) error { _, err := tx.Tenants(ctx); return err })
	})
	n := 0
	works(t, "a write", func(ctx context.Context) error {
		n++
		return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			return tx.InsertTrunk(ctx, trunk(fmt.Sprint("later-", n)))
		})
	})
	for range 2 { // they end, and it is no matter how
		<-waiting
	}
	heard.all(t)
	way.GivenUp(t)
	works(t, "to give all connections back", func(context.Context) error { // one may be telling what is new just now
		a, b := s.pool.Stat().AcquiredConns(), s.routers.Stat().AcquiredConns()
		if a+b > 0 {
			<-time.After(10 * time.Millisecond)
			return fmt.Errorf("%d and %d are not given back", a, b)
		}
		return nil
	})
}

func TestAViewIsBoundedUnlessItSaysThatItIsLong(t *testing.T) {
	srv := server.Start(t)
	s := withPool(t, Options{URL: srv.URL(srv.Database(t, migrated(t, srv))), Within: 200 * time.Millisecond})
	read := func(ctx context.Context) error {
		return s.View(ctx, func(ctx context.Context, tx store.Reader) error {
			_, err := tx.(*sqlstore.Reader).Conn().(*transaction).Exec(ctx, `SELECT pg_sleep(0.4)`, nil)
			return err
		})
	}
	if err := read(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one as any other: %v", err)
	}
	if err := read(store.Long(t.Context())); err != nil {
		t.Errorf("a long one: %v", err)
	}
}
