package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
)

func TestServersThatHangDelayNobodyElse(t *testing.T) {
	release := make(chan struct{})
	dead := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	var mu sync.Mutex
	var told time.Time
	var took []time.Duration
	well := receiver(t, func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		took = append(took, time.Since(told))
	})
	p := newPost(t, DelivererOptions{AllowPrivate: true, Timeout: time.Hour, Poll: pollEvery})
	const tenants, endpoints, events = 16, 5, 8
	for i := range tenants {
		tenant := masking.TenantID(fmt.Sprintf("dead%d", i))
		p.tenant(tenant)
		for k := range endpoints {
			p.endpoint(tenant, masking.WebhookID(fmt.Sprintf("wh_%d_%d", i, k)), dead)
		}
		p.update(func(ctx context.Context, tx store.Tx) error {
			for k := range events {
				if err := tx.AppendEvent(ctx, p.event(tenant, masking.AllocationID(fmt.Sprintf("gvn_%d", k)))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	p.start()
	p.deliver.places.hold(t)
	p.endpoint("acme", "wh_1", well)
	for i := range 50 {
		mu.Lock()
		told = time.Now()
		mu.Unlock()
		p.tell("acme", masking.AllocationID(fmt.Sprintf("gvn_%d", i%5)))
		if d := p.next(); d.Webhook != "wh_1" {
			t.Fatalf("a server that hangs has answered: %+v", d)
		}
	}
	slices.Sort(took)
	p.deliver.mu.Lock()
	couriers := len(p.deliver.couriers)
	p.deliver.mu.Unlock()
	t.Logf("beside %d endpoints that hang: 50 of 50 delivered; from the commit to the receiver p50 %v, p99 %v, most %v",
		couriers-1, took[25], took[49], took[len(took)-1])
	close(release)
}

// hold waits until those that hang have all places that they can have.
func (p *places) hold(t *testing.T) {
	t.Helper()
	for {
		p.mu.Lock()
		doubtful := p.doubtful
		p.mu.Unlock()
		if doubtful == atDoubtful {
			return
		}
		select {
		case <-t.Context().Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// mortal is a receiver that dies again and again, at any moment, and comes back at
// the same address.
type mortal struct {
	testing.TB
	addr   string
	server *http.Server
	closed chan struct{}

	mu       sync.Mutex
	received int
	dies     int            // when so many were received
	deaths   int            // how often it died
	bodies   map[string]int // by webhook-id: the number in the body
	came     map[int][]int  // by allocation: in which order
	repeats  int
	faults   []string
}

func (m *mortal) live() {
	m.Helper()
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		m.Fatal(err)
	}
	m.addr = l.Addr().String()
	server := &http.Server{Handler: m}
	closed := make(chan struct{})
	m.server, m.closed = server, closed
	go func() {
		defer close(closed)
		_ = server.Serve(l)
	}()
}

// ServeHTTP takes an event. It dies before it has taken it, after it and before the
// answer, or lies: 500 for what it took.
func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || rand.IntN(50) == 0 {
		panic(http.ErrAbortHandler)
	}
	var in struct{ Data struct{ N, A int } }
	if err := json.Unmarshal(body, &in); err != nil {
		m.fault("a body that is none: %s", body)
	}
	m.mu.Lock()
	m.take(r.Header.Get("Webhook-Id"), in.Data.A, in.Data.N)
	dies := m.received == m.dies
	m.mu.Unlock()
	switch {
	case dies:
		go m.die()
		panic(http.ErrAbortHandler)
	case rand.IntN(50) == 0:
		panic(http.ErrAbortHandler)
	case rand.IntN(50) == 0:
		w.WriteHeader(500)
	}
}

// take notes an event; m.mu is held.
func (m *mortal) take(id string, allocation, n int) {
	m.received++
	if had, twice := m.bodies[id]; twice {
		m.repeats++
		if had != n {
			m.faults = append(m.faults, fmt.Sprintf("%s brought %d, then %d", id, had, n))
		}
	}
	m.bodies[id] = n
	came := m.came[allocation]
	if len(came) > 0 {
		if before := came[len(came)-1]; n < before {
			m.faults = append(m.faults, fmt.Sprintf("allocation %d: %d after %d", allocation, n, before))
		}
	}
	m.came[allocation] = append(came, n)
}

func (m *mortal) fault(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// die ends every connection and comes back.
func (m *mortal) die() {
	_ = m.server.Close()
	<-m.closed
	m.mu.Lock()
	m.deaths++
	m.dies = m.received + 200 + rand.IntN(600)
	m.mu.Unlock()
	m.live()
}

// Ten thousand events, a receiver that dies at random, and a deliverer that does.
func TestNothingIsLostOrOutOfOrderWhoeverDies(t *testing.T) {
	const events, allocations = 10_000, 400
	m := &mortal{TB: t, addr: "127.0.0.1:0", dies: 100, bodies: map[string]int{}, came: map[int][]int{}}
	m.live()
	p := newPost(t, DelivererOptions{AllowPrivate: true, Waits: slices.Repeat([]time.Duration{time.Millisecond}, 100), Timeout: 10 * time.Second, Poll: 5 * time.Millisecond})
	p.o.Clock = time.Now // so that waits pass
	p.endpoint("acme", "wh_1", "http://"+m.addr)
	for from := 0; from < events; from += 500 {
		p.update(func(ctx context.Context, tx store.Tx) error {
			for n := from; n < from+500; n++ {
				a := rand.IntN(allocations)
				e := masking.Event{ID: masking.EventID(fmt.Sprintf("evt_%d", n)), Type: masking.EventCallCompleted, Tenant: "acme",
					Allocation: masking.AllocationID(fmt.Sprintf("gvn_%d", a)), At: storetest.Start(),
					Data: json.RawMessage(fmt.Sprintf(`{"n":%d,"a":%d}`, n, a))}
				if err := tx.AppendEvent(ctx, e); err != nil {
					return err
				}
			}
			return nil
		})
	}
	start, restarts := time.Now(), 0
	p.start()
	for delivered := 0; delivered < events; {
		if d := p.next(); d.Status == masking.DeliveryDelivered {
			delivered++
		} else if d.Status == masking.DeliveryDead {
			t.Fatalf("given up: %+v", d)
		}
		if rand.IntN(1500) == 0 {
			p.halt() // what is under way is cut off
			restarts++
			p.start()
		}
	}
	p.halt()
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.server.Close()
	<-m.closed
	if len(m.bodies) != events {
		t.Errorf("%d of %d events came", len(m.bodies), events)
	}
	for _, fault := range m.faults {
		t.Error(fault)
	}
	for _, d := range p.kept("wh_1") {
		if d.Status != masking.DeliveryDelivered {
			t.Fatalf("kept as %s", d.Status)
		}
	}
	t.Logf("%d events of %d allocations in %v; the receiver died %d times, the deliverer %d times; %d requests received, %d of them repeats",
		events, allocations, time.Since(start).Round(time.Millisecond), m.deaths, restarts, m.received, m.repeats)
}
