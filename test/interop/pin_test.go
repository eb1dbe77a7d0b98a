package interop

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// desk is a server whose one number takes the PINs of many pairs, and the phone of
// the carrier that rings whom they reach. It answers at once and says toneB.
type desk struct {
	t     *testing.T
	ctx   context.Context
	w     *world.World
	far   *phone.Phone
	seats map[string]*seat // by whom they are to reach
	open  chan struct{}    // closed when all seats are there
	pins  map[string]bool
}

// seat is a pair, and the sipp that calls for it.
type seat struct {
	*desk
	from, to string
	pin      world.Pin
	caller   *world.Sipp
	called   chan *phone.Call
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	t.Cleanup(cancel)
	d := &desk{t: t, ctx: ctx, w: pinWorld(t), seats: map[string]*seat{}, open: make(chan struct{}), pins: map[string]bool{}}
	var err error
	d.far, err = phone.New(phone.Options{IP: netip.MustParseAddr("127.0.0.1"), OnCall: d.rings})
	d.must(err)
	t.Cleanup(func() {
		if err := d.far.Close(); err != nil {
			t.Error(err)
		}
	})
	d.must(d.w.AddTrunk("carrier", map[string]any{"targets": []string{d.far.Addr().String()}}))
	return d
}

// rings takes a call that a PIN has led to.
func (d *desk) rings(c *phone.Call) {
	<-d.open
	s := d.seats[c.Seen().RequestUser]
	if s == nil {
		_ = c.Reject(404, "") // and nobody's test goes on
		return
	}
	if c.Ring(phone.Reply{}) == nil && c.Answer(phone.Reply{Audio: phone.Sine(toneB, 8000)}) == nil {
		s.called <- c
	}
	<-c.Done()
}

// seat opens one more pair, with a PIN as wanted.
func (d *desk) seat(wanted func(pin string) bool) *seat {
	d.t.Helper()
	n := len(d.seats)
	s := &seat{desk: d, from: fmt.Sprintf("+9199123456%02d", n), to: fmt.Sprintf("+9188676767%02d", n), called: make(chan *phone.Call, 8)}
	s.pin = openPin(d.t, d.w, couple{virtual, s.from, s.to}, wanted)
	d.seats[s.to], d.pins[s.pin.PIN] = s, true
	return s
}

// wrong gives PINs that open nothing and differ from the right one in their last digit.
func (s *seat) wrong(n int) []string {
	s.t.Helper()
	var list []string
	for digit := '0'; digit <= '9' && len(list) < n; digit++ {
		if pin := s.pin.PIN[:3] + string(digit); !s.pins[pin] {
			list = append(list, pin)
		}
	}
	if len(list) < n {
		s.t.Fatal("nearly all PINs like this one are taken")
	}
	return list
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// pinWorld starts a server whose one number takes PINs.
func pinWorld(t *testing.T) *world.World {
	t.Helper()
	w, err := world.Start(world.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(5 * time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log of calls:\n%s", w.Log.Lines(`"call"`))
		}
	})
	if _, err := w.NewTenant("acme", "shared", virtual); err != nil {
		t.Fatal(err)
	}
	return w
}

// couple is a number that takes PINs, and a pair on it.
type couple struct{ number, from, to string }

// openPin opens a pair again and again until its PIN is as wanted; the others are
// closed.
func openPin(t *testing.T, w *world.World, c couple, wanted func(pin string) bool) world.Pin {
	t.Helper()
	for range 200 {
		p, err := w.OpenPin("acme", c.number, []string{c.from}, []string{c.to}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.PIN) != 4 {
			t.Fatalf("a PIN of %d digits", len(p.PIN))
		}
		if wanted(p.PIN) {
			return p
		}
		if err := w.Do("acme", "DELETE", "/v1/tenants/acme/greenpin/"+p.ID, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no PIN is as wanted")
	return world.Pin{}
}

func anyPIN(string) bool { return true }

// hasDouble reports whether a digit follows itself: a careless receiver makes one
// of the two.
func hasDouble(pin string) bool {
	for i := range len(pin) - 1 {
		if pin[i] == pin[i+1] {
			return true
		}
	}
	return false
}

// records waits until the server has nothing left of its calls and gives the
// record of each, by caller.
func records(t *testing.T, w *world.World) map[string]world.Call {
	t.Helper()
	eventually(t, "nothing left of the calls", func() bool { return w.App.Leftovers() == app.Leftovers{} })
	calls, err := w.Calls("acme")
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]world.Call{}
	for _, c := range calls {
		by[c.From] = c
	}
	if len(by) != len(calls) {
		t.Errorf("%d call records of %d callers", len(calls), len(by))
	}
	return by
}
