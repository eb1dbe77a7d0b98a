package sipua

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/voice/b2bua"
)

// shares is where the agents of a test see what each holds.
type shares struct {
	mu   sync.Mutex
	held map[string]map[int]int // by bound and agent
}

// holder is what one of them sees of it.
type holder struct {
	*shares
	i int
}

func (h holder) others(bound string) (n int) {
	for i, held := range h.held[bound] {
		if i != h.i {
			n += held
		}
	}
	return n
}

func (h holder) put(bound string, held int) {
	if h.held[bound] == nil {
		h.held[bound] = map[int]int{}
	}
	h.held[bound][h.i] = held
}

// Hold is quota.Ledger's.
func (h holder) Hold(_ context.Context, bound string, decide func(int) int) (int, int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	others := h.others(bound)
	held := decide(others)
	h.put(bound, held)
	return held, others, nil
}

// Shares is quota.Ledger's.
func (h holder) Shares(context.Context) (map[string]quota.Share, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := map[string]quota.Share{}
	for bound, of := range h.held {
		if of[h.i] > 0 {
			list[bound] = quota.Share{Held: of[h.i], Others: h.others(bound)}
		}
	}
	return list, nil
}

// Put is quota.Ledger's.
func (h holder) Put(_ context.Context, held map[string]int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for bound, n := range held {
		h.put(bound, n)
	}
	return nil
}

// rig is one of them, the i-th.
func (of *shares) rig(t *testing.T, i int) *rig {
	q := quota.New(holder{of, i}, nil)
	t.Cleanup(q.Close)
	return newRig(t, func(o *Options) { o.Quota = q })
}

// all is what everybody holds of a bound.
func (of *shares) all(bound string) int {
	of.mu.Lock()
	defer of.mu.Unlock()
	return holder{of, -1}.others(bound)
}

func TestACallThatIsTakenUpCountsOnATrunkForAllNodes(t *testing.T) {
	r, p := pair(t)
	state := stateOf(t, scenes["outgoing talking"](r, p).leg)
	of := &shares{held: map[string]map[int]int{}}
	one := trunk("one", p)
	one.MaxCalls = 1
	here, there := of.rig(t, 0), of.rig(t, 1)
	here.ua.SetTrunks([]masking.Trunk{one})
	there.ua.SetTrunks([]masking.Trunk{one})
	leg, err := here.ua.Resume("call_1", []byte(ourOffer), state)
	if err != nil {
		t.Fatal(err)
	}
	here.until("the others know of it", func() bool { return of.all("calls on trunk one") == 1 })
	if refused, _ := there.dial(); phaseOf(refused) != gone {
		t.Error("two calls are on a trunk that takes one")
	}
	leg.Abandon()
}

func TestATrunksLimitsAreThoseOfAllNodesTogether(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit func(*masking.Trunk)
	}{
		{"calls", func(t *masking.Trunk) { t.MaxCalls = 3 }},
		{"calls a second", func(t *masking.Trunk) { t.MaxCPS = 3 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			of := &shares{held: map[string]map[int]int{}}
			var list []*rig
			for i := range 3 {
				list = append(list, of.rig(t, i))
			}
			p := list[0].peer("127.0.0.2")
			few := trunk("few", p)
			c.limit(&few)
			var mu sync.Mutex
			var up []b2bua.Leg
			refused := 0
			var wg sync.WaitGroup
			begun := time.Now()
			for _, r := range list {
				r.ua.SetTrunks([]masking.Trunk{few})
				for range 4 {
					wg.Go(func() {
						leg, _ := r.dial()
						mu.Lock()
						defer mu.Unlock()
						if phaseOf(leg) == gone {
							refused++
						} else {
							up = append(up, leg)
						}
					})
				}
			}
			wg.Wait()
			most := 3
			if few.MaxCPS > 0 { // on a slow machine this may have taken longer
				most += 3 * int(time.Since(begun)/aSecond)
			}
			if len(up) < 3 || len(up) > most || len(up)+refused != 12 {
				t.Errorf("%d calls were started and %d refused", len(up), refused)
			}
			for range up {
				invite := p.expect("INVITE ")
				from, _, _ := strings.Cut(strings.Fields(invite.field("Via"))[1], ";")
				p.to = netip.MustParseAddrPort(from)
				p.send(invite.reply(486, "x", ""))
			}
			for _, r := range list {
				r.gone()
			}
		})
	}
}

// silent is a holder who is told nothing.
type silent struct {
	holder
	end chan struct{}
}

// Hold is quota.Ledger's.
func (s silent) Hold(context.Context, string, func(int) int) (int, int, error) {
	<-s.end
	return 0, 0, context.Canceled
}

func TestACallWaitsForAllItsTrunksTogetherNoLongerThanHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := silent{holder{&shares{held: map[string]map[int]int{}}, 0}, make(chan struct{})}
		q := quota.New(of, nil)
		defer q.Close()
		defer close(of.end)
		began := time.Now()
		for _, name := range []string{"one", "two", "three"} {
			s := &trunkState{name: name, quota: q}
			if s.take(masking.Trunk{MaxCalls: 5, MaxCPS: 5}, time.Since(began)) {
				t.Error("a call is started though nobody knows how many there are")
			}
			if waited := time.Since(began); waited != 500*time.Millisecond {
				t.Errorf("waited for %v", waited)
			}
		}
	})
}
