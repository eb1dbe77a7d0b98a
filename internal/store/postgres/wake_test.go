package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// woken are the topics that a store is woken for.
type woken chan store.Topic

func (w woken) wake(t store.Topic) {
	select {
	case w <- t:
	default: // nobody reads them any more
	}
}

// next waits for a topic.
func (w woken) next(t *testing.T, topic store.Topic) {
	t.Helper()
	for {
		select {
		case got := <-w:
			if got == topic {
				return
			}
		case <-t.Context().Done():
			t.Fatalf("nobody is woken for %s", topic)
		}
	}
}

// all waits for every topic, as a listener is told when it has connected.
func (w woken) all(t *testing.T) {
	t.Helper()
	missing := map[store.Topic]bool{}
	for _, topic := range store.Topics {
		missing[topic] = true
	}
	for len(missing) > 0 {
		select {
		case got := <-w:
			delete(missing, got)
		case <-t.Context().Done():
			t.Fatal("nobody listens")
		}
	}
}

func happens(t *testing.T, s *Store, id string) {
	t.Helper()
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return tx.AppendEvent(ctx, masking.Event{ID: masking.EventID(id), Type: masking.EventCallCompleted, Tenant: "acme", At: storetest.Start(), Data: []byte("{}")})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatOneNodeCommitsWakesTheOthersAndWhatItDoesNotWakesNobody(t *testing.T) {
	srv := server.Start(t)
	url := srv.URL(srv.Database(t, migrated(t, srv)))
	here, there := make(woken, 100), make(woken, 100)
	a := withPool(t, Options{URL: url, Opening: sqlstore.Opening{Wake: here.wake}})
	open(t, Options{URL: url, Opening: sqlstore.Opening{Wake: there.wake}})
	silent := open(t, Options{URL: url})
	here.all(t)
	there.all(t)
	happens(t, a, "evt_1")
	here.next(t, store.TopicEvents)
	there.next(t, store.TopicEvents)
	undone := errors.New("undone")
	err := a.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.InsertTrunk(ctx, trunk("none")), undone)
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	happens(t, silent, "evt_2") // whoever wakes nobody is not heard either
	if err := a.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.PutPrompt(ctx, announcement) }); err != nil {
		t.Fatal(err)
	}
	for got := range there {
		if got == store.TopicAnnouncements {
			break
		}
		t.Errorf("woken for %s", got)
	}
}

var announcement = store.Prompt{Tenant: "acme", Language: "en", Name: "refused", Audio: []byte("RIFF"), UpdatedAt: storetest.Start()}

func TestAListenerWhoseConnectionIsCutConnectsAgainAndLooksAtEverything(t *testing.T) {
	srv := server.Start(t)
	database := srv.Database(t, migrated(t, srv))
	heard := make(woken, 100)
	s := withPool(t, Options{URL: srv.URL(database), Opening: sqlstore.Opening{Wake: heard.wake}})
	heard.all(t)
	srv.Exec(t, database, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`)
	heard.all(t)
	happens(t, s, "evt_1")
	heard.next(t, store.TopicEvents)
}

func TestOfAChangeNothingIsToldButItsTopic(t *testing.T) {
	srv := server.Start(t)
	url := srv.URL(srv.Database(t, migrated(t, srv)))
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if _, err := conn.Exec(ctx, "LISTEN "+wakeChannel); err != nil {
		t.Fatal(err)
	}
	heard := make(woken, 100)
	s := withPool(t, Options{URL: url, Opening: sqlstore.Opening{Wake: heard.wake}})
	happens(t, s, "evt_1")
	n, err := conn.WaitForNotification(ctx)
	if err != nil || n.Payload != string(store.TopicEvents) {
		t.Errorf("told %+v, %v", n, err)
	}
}

func TestAThousandChangesAreToldAFewTimes(t *testing.T) {
	told := make(chan store.Topic, 1000)
	th := newThrottle(20*time.Millisecond, func(topic store.Topic) { told <- topic })
	begun := time.Now()
	for range 1000 {
		th.soon(store.TopicEvents)
		th.soon(store.TopicTrunks)
	}
	th.close()
	th.soon(store.TopicEvents) // tells nobody any more
	if n, most := len(told), 2*(2+int(time.Since(begun)/(20*time.Millisecond))); n < 2 || n > most {
		t.Errorf("told %d times", n)
	}
}
