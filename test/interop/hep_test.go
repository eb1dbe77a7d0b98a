package interop

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// sngrep takes HEPv3 in as a HOMER collector does and writes the messages to a file,
// with the addresses that they bore on the wire; tshark reads them there as SIP.
func TestSngrepTakesTheExportAndTsharkFindsNoFaultInIt(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	port := world.FreePort(t, "127.0.0.1")
	file := filepath.Join(t.TempDir(), "exported.pcap")
	said := &world.Log{}
	sngrep := exec.CommandContext(ctx, "sngrep", "-F", "-N", "-q", "-L", fmt.Sprintf("udp:127.0.0.1:%d", port), "-O", file)
	sngrep.Stdout, sngrep.Stderr = said, said
	must(sngrep.Start())
	t.Cleanup(func() {
		_ = sngrep.Process.Kill() // over already, where the test came to its end
		_ = sngrep.Wait()
		if t.Failed() {
			t.Logf("sngrep said:\n%s", said)
		}
	})

	w, err := world.Start(world.Options{Environ: []string{fmt.Sprintf("TANDEM_HEP_TARGET=127.0.0.1:%d", port)}})
	must(err)
	t.Cleanup(func() {
		if err := w.Close(5 * time.Second); err != nil {
			t.Error(err)
		}
	})
	called := make(chan *phone.Call, 1)
	p, err := phone.New(phone.Options{Network: "udp", IP: netip.MustParseAddr("127.0.0.1"), OnCall: world.HandTo(ctx, called)})
	must(err)
	t.Cleanup(func() { _ = p.Close() })
	must(w.AddTrunk("carrier", map[string]any{"targets": []string{p.Addr().String()}}))
	_, err = w.NewTenant("acme", "exclusive", virtual)
	must(err)
	_, err = w.Allocate("acme", virtual, []string{alice}, []string{bob}, nil)
	must(err)

	eventually(t, "sngrep to listen", func() bool {
		_, err := p.Ask(ctx, phone.Outside{Via: w.SIP("udp"), Request: phone.Request{Method: "OPTIONS"}})
		must(err)
		info, err := os.Stat(file)
		return err == nil && info.Size() > 100
	})
	a, err := p.Dial(ctx, phone.Invite{From: alice, To: virtual, Via: w.SIP("udp")})
	must(err)
	var b *phone.Call
	select {
	case b = <-called:
	case <-ctx.Done():
		t.Fatal("nobody was called")
	}
	must(b.Ring(phone.Reply{}))
	must(b.Answer(phone.Reply{}))
	must(a.Answered(ctx))
	must(a.Hold(ctx))
	must(a.Resume(ctx))
	must(a.Hangup(ctx))
	_, err = b.Ended(ctx)
	must(err)
	eventually(t, "nothing left of the call", func() bool { return w.App.Leftovers() == app.Leftovers{} })
	server := w.SIP("udp").Port()
	anyPort := []string{"udp.port==1-65535,sip"}
	eventually(t, "both BYEs and their answers at sngrep", func() bool {
		lines, err := tshark(ctx, file, anyPort, "sip.CSeq.method == BYE and sip.Status-Code == 200")
		return err == nil && len(lines) == 2 // an error says that the file is being written
	})
	must(sngrep.Process.Signal(os.Interrupt))
	_ = sngrep.Wait() // ended by the signal

	read := func(filter string, fields ...string) []string {
		lines, err := tshark(ctx, file, anyPort, filter, fields...)
		must(err)
		return lines
	}
	for filter, want := range map[string]int{
		fmt.Sprintf("sip.Method == INVITE and udp.srcport == %d and udp.dstport == %d and sdp", server, p.Addr().Port()): 1,
		fmt.Sprintf("sip.Method == INVITE and udp.dstport == %d and sdp", server):                                        3, // the call, hold, resume
		"sip.Status-Code == 180":                                                         2,
		"sip.Method == BYE and ip.addr == 127.0.0.1":                                     2,
		"sdp and sdp.media_attr == \"sendonly\"":                                         1,
		"sip and not (sip.from.user and sip.to.user) and not sip.CSeq.method == OPTIONS": 0,
	} {
		if got := len(read(filter)); got < want || want == 0 && got > 0 {
			t.Errorf("%d messages of %s, want %d", got, filter, want)
		}
	}
	for _, line := range read("_ws.malformed or _ws.expert.severity >= 0x00600000", "_ws.expert.message", "_ws.col.Info") {
		t.Errorf("frame %s", line)
	}
	raw, err := os.ReadFile(file)
	must(err)
	testkit.AssertNoLeak(t, testkit.NewLeakDetector(alice, bob), "what sngrep wrote", raw)
}
