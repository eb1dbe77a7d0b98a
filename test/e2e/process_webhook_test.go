package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"tandem/internal/client"
)

// hookLedger is a receiver that outlives the server, and at a moment of its choice
// holds a webhook until the server is dead.
type hookLedger struct {
	mu     sync.Mutex
	came   []string          // ids, in the order of their arrival
	bodies map[string]string // by id
	until  int               // webhooks until one is held
	held   chan struct{}     // told when it is
	dead   chan struct{}     // closed when the server is
	faults []string
}

func (l *hookLedger) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	id := r.Header.Get("Webhook-Id")
	l.mu.Lock()
	if had, twice := l.bodies[id]; err == nil && twice && had != string(body) {
		l.faults = append(l.faults, fmt.Sprintf("%s brought %s, then %s", id, had, body))
	}
	if err == nil {
		l.came = append(l.came, id)
		l.bodies[id] = string(body)
	}
	l.until--
	hold, dead := l.until == 0, l.dead
	l.mu.Unlock()
	if hold {
		l.held <- struct{}{}
		<-dead
	}
}

// arm holds one of the next webhooks.
func (l *hookLedger) arm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until, l.dead = 1+rand.IntN(60), make(chan struct{})
}

// webhooksOutliveKill kills the server again and again while a webhook is under way.
func webhooksOutliveKill(t *testing.T, s *site) {
	s.environ = []string{"TANDEM_WEBHOOK_ALLOW_PRIVATE=true"}
	p := s.start()
	l := &hookLedger{bodies: map[string]string{}, held: make(chan struct{}, 1)}
	receiver := httptest.NewServer(l)
	defer receiver.Close()
	_, err := s.api.AddNumbers(s.ctx, "acme", []client.NewNumber{{Number: poolNumber(1), Sharing: "shared"}})
	s.must(err)
	_, err = s.api.CreateWebhook(s.ctx, "acme", client.WebhookChange{URL: &receiver.URL})
	s.must(err)
	const kills = 20
	for round := range kills {
		l.arm()
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() { s.comeAndGo(round*4 + w) })
		}
		select {
		case <-l.held:
		case <-s.ctx.Done():
			t.Fatal("no webhook came")
		}
		p.kill()
		close(l.dead)
		wg.Wait()
		p = s.start()
	}
	places := s.eventPlaces()
	s.wait("every event", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.bodies) >= len(places)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range l.faults {
		t.Error(fault)
	}
	last := map[string]int{} // by allocation: the place of what came last
	for _, id := range l.came {
		e, known := places[id]
		if !known {
			t.Errorf("%s was sent and is no event", id)
			continue
		}
		if e.place < last[e.allocation] {
			t.Errorf("%s of %s came after a later one", id, e.allocation)
		}
		last[e.allocation] = e.place
	}
	t.Logf("%d kills, each with a webhook under way: %d events, %d webhooks, %d of them repeats",
		kills, len(places), len(l.came), len(l.came)-len(l.bodies))
}

// comeAndGo makes and ends allocations until the server does not answer.
func (s *site) comeAndGo(writer int) {
	for i := range 2000 {
		a, err := s.api.CreateAllocation(s.ctx, "acme", client.NewAllocation{CallerIDNumber: poolNumber(1),
			From: []string{fmt.Sprintf("+9177%03d%05d", writer, 2*i)}, To: []string{fmt.Sprintf("+9177%03d%05d", writer, 2*i+1)}})
		if err == nil {
			_, err = s.api.DeleteAllocation(s.ctx, "acme", a.GreenVNID, false)
		}
		if err != nil {
			return
		}
	}
}

// told is an event's place in the order of all, and whose it is.
type told struct {
	place      int
	allocation string
}

// eventPlaces are all events of the tenant by id.
func (s *site) eventPlaces() map[string]told {
	s.t.Helper()
	places := map[string]told{}
	f := client.EventFilter{Page: client.Page{Limit: 100}}
	for {
		page, err := s.api.Events(s.ctx, "acme", f)
		s.must(err)
		for _, e := range page.Items {
			places[e.ID] = told{len(places) + 1, e.GreenVNID}
		}
		if len(page.Items) == 0 {
			return places
		}
		f.Cursor = page.NextCursor
	}
}
