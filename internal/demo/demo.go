// Package demo shows Tandem at work on one machine: it starts a whole server and
// a carrier with two phones on loopback, sets everything up over the HTTP API,
// calls through a virtual number both ways, and says only what it has checked.
//
// It uses what any operator and any phone could use, the API and SIP, and reaches
// into nothing of the server. Only the command line calls it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"tandem/internal/app"
	"tandem/internal/client"
	"tandem/internal/config"
)

const (
	patience = 90 * time.Second // for the whole performance, which takes about ten
	goodbye  = 5 * time.Second  // for one call to be hung up
)

// A party is somebody with a phone. All numbers here are invented.
type party struct {
	name   string
	number string
	hz     float64 // the tone that this side says
}

// The cast.
var (
	partyA = party{name: "A", number: "+919900000001", hz: 440}
	partyB = party{name: "B", number: "+918800000002", hz: 660}
)

const (
	tenant        = "demo"
	virtualNumber = "+914000000001"
	spareNumber   = "+914000000002" // left to whoever watches
	pinNumber     = "+914000000003"
)

// Options say how to show it.
type Options struct {
	Out     io.Writer
	Log     *slog.Logger // of the server
	Once    bool         // end after the calls
	Colour  bool
	Command string // how this program is called, for what to try next
	Version string
}

// Run shows the demo. It returns nil if everything in it really happened, and,
// without Once, ctx has ended; nothing is left behind.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{o: o, say: &teller{w: o.Out, colour: o.Colour}}
	defer func() { err = errors.Join(err, d.close()) }()

	performing, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for _, act := range []struct {
		name string
		play func(context.Context) error
	}{
		{"start the server", d.startServer},
		{"start the carrier", d.startCarrier},
		{"set the server up", d.setUp},
		{"create an allocation", d.allocate},
		{"A calls B", d.callThere},
		{"B calls back", d.callBack},
		{"open a PIN", d.openPIN},
		{"A enters the PIN", d.callWithPIN},
		{"read the records", d.readRecords},
		{"fetch the recording", d.fetchRecording},
	} {
		if err := act.play(performing); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the demo failed: %s: %w", act.name, err)
		}
	}
	d.whatNext()
	if err := d.say.failure(); o.Once || err != nil {
		return err
	}
	<-ctx.Done()
	d.say.line("")
	d.say.line("Ended; the temporary folder is removed.")
	return d.say.failure()
}

// demo is one performance.
type demo struct {
	o   Options
	say *teller

	dir     string
	server  *app.App
	carrier *carrier
	admin   *client.Client
	api     *client.Client // as the tenant

	credentials client.Credentials
	allocation  client.Allocation
	pin         client.Pin
}

// close ends whatever has been started, the last first.
func (d *demo) close() error {
	var errs []error
	if d.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // calls that are up are hung up
		errs = append(errs, d.server.Stop(ctx))
		cancel()
	}
	if d.carrier != nil {
		errs = append(errs, d.carrier.close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// startServer starts a server on free ports of loopback, in a temporary folder.
func (d *demo) startServer(ctx context.Context) (err error) {
	d.say.title("Tandem demo: a server, a carrier and two phones, on this machine alone. All numbers are invented.")
	if d.dir, err = os.MkdirTemp("", "tandem-demo-"); err != nil {
		return err
	}
	settings, err := config.Load(config.Sources{Flags: map[string]string{
		"data-dir": d.dir, "http-listen": "127.0.0.1:0", "ops-listen": "127.0.0.1:0",
		"sip-listen": "udp://127.0.0.1:0,tcp://127.0.0.1:0", "media-ports": "0",
	}})
	if err != nil {
		return err
	}
	if d.server, err = app.Start(ctx, app.Options{Config: settings, Log: d.o.Log, Version: d.o.Version}); err != nil {
		return err
	}
	token, _ := d.server.AdminToken()
	d.admin, err = client.New(client.Options{BaseURL: d.baseURL(), AdminToken: token})
	return err
}

func (d *demo) baseURL() string { return "http://" + d.server.Addrs().HTTP }

// setUp does what an operator does once: a tenant, numbers, a trunk.
func (d *demo) setUp(ctx context.Context) (err error) {
	if d.credentials, err = d.admin.CreateTenant(ctx, client.NewTenant{TenantID: tenant}); err != nil {
		return err
	}
	numbers := []client.NewNumber{{Number: virtualNumber}, {Number: spareNumber}, {Number: pinNumber}}
	if _, err = d.admin.AddNumbers(ctx, tenant, numbers); err != nil {
		return err
	}
	trusted, country := true, "IN"
	trunk := client.NewTrunk{Name: "loopback", TrunkSettings: client.TrunkSettings{Sources: []string{"127.0.0.1/32"},
		Targets: []string{d.carrier.addr().String()}, TrustIdentity: &trusted, Country: &country}}
	if _, err = d.admin.CreateTrunk(ctx, trunk); err != nil {
		return err
	}
	d.api, err = client.New(client.Options{BaseURL: d.baseURL(), AccountSID: d.credentials.AccountSID, Token: d.credentials.Token})
	if err != nil {
		return err
	}
	sip, err := d.sipUDP()
	if err != nil {
		return err
	}
	// A server does not answer strangers, and a new trunk is in use within two
	// seconds: once OPTIONS is answered, calls will be.
	if err := d.carrier.awaitAnswer(ctx, sip); err != nil {
		return err
	}
	d.say.table([][2]string{
		{"server", d.baseURL() + " (API, /docs); SIP " + strings.Join(d.server.Addrs().SIP, ", ")},
		{"carrier", "SIP on udp " + d.carrier.addr().String() + ", a trunk of the server"},
		{"phone A", partyA.number + ", a subscriber of the carrier; says a tone of 440 Hz"},
		{"phone B", partyB.number + ", likewise; says a tone of 660 Hz"},
		{"virtual numbers", virtualNumber + ", " + spareNumber + ", " + pinNumber + ", in the pool of tenant " + tenant},
	})
	return nil
}

// allocate lends the virtual number, with the fields of the published page.
func (d *demo) allocate(ctx context.Context) (err error) {
	want := client.NewAllocation{CallerIDNumber: virtualNumber, From: []string{partyA.number}, To: []string{partyB.number},
		Duration: 86400, Record: true, CustomField: "order_id=ORD-20240615"}
	d.say.title("An allocation, over HTTP")
	if d.allocation, err = d.api.CreateAllocation(ctx, tenant, want); err != nil {
		return err
	}
	d.say.line("  POST /v1/tenants/%s/greenvn: %s connects %s and %s", tenant, want.CallerIDNumber, want.From[0], want.To[0])
	d.say.check(d.allocation.Status == "active" && d.allocation.VirtualNumber == virtualNumber && d.allocation.Record,
		"201: %s is %s until %s; its calls are recorded", d.allocation.GreenVNID, d.allocation.Status, d.allocation.ExpiresAt)
	return d.say.failure()
}

// openPIN puts a pair behind a PIN, on a number of its own.
func (d *demo) openPIN(ctx context.Context) (err error) {
	want := client.NewPin{CallerIDNumber: pinNumber, From: []string{partyA.number}, To: []string{partyB.number}, Duration: 3600}
	d.say.title("An allocation that a PIN opens, so that one number serves many pairs at once")
	if d.pin, err = d.api.CreatePin(ctx, tenant, want); err != nil {
		return err
	}
	d.say.line("  POST /v1/tenants/%s/greenpin: %s connects %s and %s", tenant, want.CallerIDNumber, want.From[0], want.To[0])
	d.say.check(d.pin.Status == "active" && len(d.pin.PIN) >= 4, "201: %s is %s; its PIN is %s", d.pin.GreenPinID, d.pin.Status, d.pin.PIN)
	return d.say.failure()
}
