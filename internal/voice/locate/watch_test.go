package locate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// oracle is a DNS of which the test says what it tells.
type oracle struct {
	mu    sync.Mutex // guards all but start
	told  Known
	found Found
	err   error
	asked []time.Duration // since the start
	start time.Time
}

func (o *oracle) find(context.Context) (Found, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, time.Since(o.start))
	return o.found, o.err
}

func (o *oracle) tells(found Found, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.found, o.err = found, err
}

func (o *oracle) keep(k Known) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = k
}

func (o *oracle) known() Known {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.told
}

func (o *oracle) when() []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

func some(ttl time.Duration, addr string) Found {
	return Found{Records: []Record{record(1, 1, addr)}, TTL: ttl}
}

// watched runs Watch in a bubble of its own time, and gives what it told last.
func watched(t *testing.T, o *oracle, body func(known func() Known)) {
	synctest.Test(t, func(t *testing.T) {
		o.start = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		go Watch(ctx, Timing{}, Known{State: Pending}, o.find, o.keep)
		synctest.Wait()
		body(o.known)
		cancel()
		synctest.Wait()
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestANameIsAskedForAgainWhenItsTimeIsOver(t *testing.T) {
	o := &oracle{found: some(30*time.Second, "192.0.2.1")}
	watched(t, o, func(known func() Known) {
		if known().State != Current || len(known().Records) != 1 || known().At != o.start || known().Next != o.start.Add(30*time.Second) {
			t.Fatalf("known %+v", known())
		}
		o.tells(some(60*time.Second, "192.0.2.2"), nil)
		pass(29 * time.Second)
		if len(o.when()) != 1 {
			t.Errorf("asked after %v", o.when())
		}
		pass(2 * time.Second)
		if a := known().Records[0].Addrs[0].String(); a != "192.0.2.2" {
			t.Errorf("still at %s", a)
		}
		pass(60 * time.Second)
		if want := []time.Duration{0, 30 * time.Second, 90 * time.Second}; !slices.Equal(o.when(), want) {
			t.Errorf("asked after %v", o.when())
		}
	})
}

func TestATTLHasAFloorAndACeiling(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{0: 5 * time.Second, time.Second: 5 * time.Second, time.Minute: time.Minute, 999 * time.Hour: time.Hour} {
		o := &oracle{found: some(ttl, "192.0.2.1")}
		watched(t, o, func(known func() Known) {
			if got := known().Next.Sub(o.start); got != want {
				t.Errorf("TTL %v: asked again after %v, want %v", ttl, got, want)
			}
		})
	}
}

func TestWhileDNSFailsWhatItSaidLastIsUsed(t *testing.T) {
	o := &oracle{found: some(30*time.Second, "192.0.2.1")}
	watched(t, o, func(known func() Known) {
		o.tells(Found{}, errors.New("SERVFAIL"))
		pass(24 * time.Hour)
		if known().State != Failing || len(known().Records) != 1 || known().At != o.start || known().Problem != "SERVFAIL" || known().Failed < 1000 {
			t.Errorf("known %+v", known())
		}
		first := []time.Duration{0, 30 * time.Second, 35 * time.Second, 45 * time.Second, 65 * time.Second, 105 * time.Second, 165 * time.Second, 225 * time.Second}
		if !slices.Equal(o.when()[:8], first) {
			t.Errorf("asked after %v", o.when()[:8])
		}
		o.tells(some(30*time.Second, "192.0.2.2"), nil)
		pass(time.Minute)
		if known().State != Current || known().Failed != 0 || known().Problem != "" || known().Records[0].Addrs[0].String() != "192.0.2.2" {
			t.Errorf("after the recovery %+v", known())
		}
	})
}

func TestANameThatIsGoneIsUsedForAWhile(t *testing.T) {
	o := &oracle{found: some(30*time.Second, "192.0.2.1")}
	watched(t, o, func(known func() Known) {
		o.tells(Found{}, nil)
		pass(31 * time.Second)
		if known().State != Gone || len(known().Records) != 1 || known().Until != o.start.Add(30*time.Second+10*time.Minute) || known().Problem == "" {
			t.Errorf("known %+v", known())
		}
		pass(9 * time.Minute)
		if len(known().Records) != 1 {
			t.Error("dropped before its time")
		}
		o.tells(Found{}, errors.New("SERVFAIL")) // a failure gives no more time
		pass(3 * time.Minute)
		if len(known().Records) != 0 || known().State != Failing || !known().At.IsZero() {
			t.Errorf("long after %+v", known())
		}
	})
}

func TestAPartOfTheServersIsBetterThanNoneButNotThanAllThatWereKnown(t *testing.T) {
	part, whole, fault := some(time.Minute, "192.0.2.1"), some(time.Minute, "192.0.2.2"), errors.New("SERVFAIL")
	k := Timing{}.filled().after(Known{}, part, fault, time.Now())
	if k.State != Failing || len(k.Records) != 1 {
		t.Errorf("at first %+v", k)
	}
	k = Timing{}.filled().after(Known{Found: whole}, part, fault, time.Now())
	if k.State != Failing || k.Records[0].Addrs[0].String() != "192.0.2.2" {
		t.Errorf("later %+v", k)
	}
}
