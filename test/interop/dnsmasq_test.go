package interop

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/voice/locate"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// startDNSMasq starts a DNS server that knows carrier.example, and ends it with the test.
func startDNSMasq(t *testing.T, ctx context.Context, records ...string) netip.AddrPort {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), world.FreePort(t, "127.0.0.1"))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dnsmasq.conf")
	lines := append([]string{"no-resolv", "no-hosts", "bind-interfaces", "listen-address=127.0.0.1", fmt.Sprintf("port=%d", at.Port()),
		"user=" + me.Username, "pid-file", "log-facility=-", "local=/carrier.example/"}, records...)
	write(t, file, []byte(strings.Join(lines, "\n")+"\n"))
	printed := &world.Log{}
	cmd := exec.CommandContext(ctx, "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file="+file)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = printed, printed, 5*time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("dnsmasq printed:\n%.8000s", printed)
		}
	})
	return at
}

// carrierZone has carrier.example lead to a port of 127.0.0.3 over TCP: by NAPTR, more
// SRV records than fit into a datagram, and an alias.
func carrierZone(port uint16) []string {
	zone := []string{
		"naptr-record=carrier.example,10,10,S,SIP+D2T,,_sip._tcp.carrier.example",
		"naptr-record=carrier.example,20,10,S,SIP+D2U,,_sip._udp.carrier.example",
		fmt.Sprintf("srv-host=_sip._tcp.carrier.example,edge.carrier.example,%d,1,0", port),
		"cname=edge.carrier.example,host.carrier.example", "host-record=host.carrier.example,127.0.0.3",
	}
	for i := range 15 {
		zone = append(zone, fmt.Sprintf("srv-host=_sip._tcp.carrier.example,another-edge-of-the-carrier-%d.carrier.example,5060,9,%d", i, i))
	}
	return zone
}

func TestServersAreFoundAtDnsmasq(t *testing.T) {
	find := locate.NewResolver([]netip.AddrPort{startDNSMasq(t, t.Context(), carrierZone(5070)...)}).Find
	reach := locate.Reach{{Network: "udp"}, {Network: "tcp"}}
	var found locate.Found
	eventually(t, "an answer of dnsmasq's", func() bool {
		var err error
		found, err = find(t.Context(), locate.Query{Host: "carrier.example", Reach: reach})
		return err == nil
	})
	if len(found.Records) != 1 || found.Records[0].By != locate.ByNAPTR || found.Records[0].Host != "edge.carrier.example" ||
		found.Order(nil)[0] != (locate.Server{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.3:5070")}) {
		t.Errorf("found %+v", found)
	}
	if none, err := find(t.Context(), locate.Query{Host: "nobody.carrier.example", Reach: reach}); err != nil || len(none.Records) != 0 {
		t.Errorf("found %+v (%v) where there is nothing", none, err)
	}
}

func TestACallFindsItsWayByDnsmasq(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	called := make(chan *phone.Call, 1)
	in, err := phone.New(phone.Options{IP: netip.MustParseAddr("127.0.0.2")})
	must(err)
	defer in.Close()
	out, err := phone.New(phone.Options{IP: netip.MustParseAddr("127.0.0.3"), Network: "tcp", OnCall: world.HandTo(ctx, called)})
	must(err)
	defer out.Close()
	server := startDNSMasq(t, ctx, carrierZone(out.Addr().Port())...)
	w, err := world.Start(world.Options{Environ: []string{"TANDEM_DNS_SERVERS=" + server.String()}})
	must(err)
	defer func() { must(w.Close(5 * time.Second)) }()
	must(w.AddTrunk("carrier-in", map[string]any{"sources": []string{"127.0.0.2/32"}}))
	must(w.AddTrunk("carrier-out", map[string]any{"sources": []string{"127.0.0.3/32"}, "targets": []string{"carrier.example"}, "transport": "dns"}))
	_, err = w.NewTenant("acme", "exclusive", virtual)
	must(err)
	_, err = w.Allocate("acme", virtual, []string{alice}, []string{bob}, nil)
	must(err)
	eventually(t, "the carrier's server", func() bool {
		text, err := w.Metrics()
		return err == nil && strings.Contains(text, `tandem_trunk_target_resolved{target="carrier.example",trunk="carrier-out"} 1`)
	})
	a, err := in.Dial(ctx, phone.Invite{From: alice, To: virtual, Via: w.SIP("udp")})
	must(err)
	select {
	case b := <-called:
		must(b.Answer(phone.Reply{}))
		must(a.Answered(ctx))
		must(a.Hangup(ctx))
	case <-ctx.Done():
		t.Fatal("nobody was called")
	}
	if r := theRecord(t, w); r.Cause != "caller_hung_up" {
		t.Errorf("cause %q", r.Cause)
	}
}
