package interop

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// pinLength is how many digits the system gives a PIN.
const pinLength = 4

// desk is a server with a pair behind a PIN, and the phone of the carrier that
// rings whom the PIN reaches.
type desk struct {
	t      *testing.T
	ctx    context.Context
	w      *world.World
	pin    world.Pin
	far    *phone.Phone
	called chan *phone.Call
	caller *sipp // nil if it is somebody else who calls
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	t.Cleanup(cancel)
	d := &desk{t: t, ctx: ctx, w: pinWorld(t), called: make(chan *phone.Call, 1)}
	var err error
	d.far, err = phone.New(phone.Options{IP: netip.MustParseAddr("127.0.0.1"), OnCall: func(c *phone.Call) {
		select {
		case d.called <- c:
		case <-ctx.Done():
		}
		<-c.Done()
	}})
	d.must(err)
	t.Cleanup(func() {
		if err := d.far.Close(); err != nil {
			t.Error(err)
		}
	})
	d.must(d.w.AddTrunk("carrier", map[string]any{"targets": []string{d.far.Addr().String()}}))
	d.pin = openPin(t, d.w, func(string) bool { return true })
	return d
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

// openPin opens pairs of alice and bob until the PIN of one is as wanted; the
// others are closed.
func openPin(t *testing.T, w *world.World, wanted func(pin string) bool) world.Pin {
	t.Helper()
	for range 200 {
		p, err := w.OpenPin("acme", virtual, []string{alice}, []string{bob}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.PIN) != pinLength {
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

// wrong is a PIN that opens nothing, n of several: it differs in its last digit.
func wrong(pin string, n int) string {
	last := len(pin) - 1
	return pin[:last] + string('0'+(pin[last]-'0'+byte(n))%10)
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// reached waits for the call that the PIN has led to, which has to ring bob and
// show the virtual number.
func (d *desk) reached() *phone.Call {
	d.t.Helper()
	select {
	case b := <-d.called:
		if seen := b.Seen(); seen.From != virtual || seen.RequestUser != bob {
			d.t.Errorf("%s was called by %q", seen.RequestUser, seen.From)
		}
		return b
	case <-d.gone():
		d.caller.wait(d.t, 0)
		d.t.Fatal("the caller has hung up")
	case <-d.ctx.Done():
		d.t.Fatal("nobody was called")
	}
	return nil
}

// gone is closed when the caller's sipp has ended.
func (d *desk) gone() <-chan struct{} {
	if d.caller == nil {
		return nil
	}
	return d.caller.done
}

// unknown fails if the far side was told of a key, by packets or by INFO.
func (d *desk) unknown(b *phone.Call) {
	d.t.Helper()
	if got := len(b.Digits()); got != 0 {
		d.t.Errorf("the far side was told of %d keys", got)
	}
}

// record waits until the server has nothing left of its one call and gives the
// record of it.
func (d *desk) record() world.Call {
	d.t.Helper()
	return pinRecord(d.t, d.w, 1)[0]
}

// pinRecord waits until the server has nothing left of its calls and gives the
// records of them, newest first.
func pinRecord(t *testing.T, w *world.World, calls int) []world.Call {
	t.Helper()
	eventually(t, "nothing left of the call", func() bool { return w.App.Leftovers() == app.Leftovers{} })
	records, err := w.Calls("acme")
	if err != nil || len(records) != calls {
		t.Fatalf("%d call records, want %d (%v)", len(records), calls, err)
	}
	return records
}
