package siptx

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What is done with the messages of RFC 4475, written after that document. Where it
// leaves a choice, the comment says which was taken and why.
const (
	handled = "handled" // reaches Handler.OnRequest
	strayed = "stray"   // reaches Handler.OnStray
	dropped = "dropped" // neither, and no answer
)

func TestRFC4475Messages(t *testing.T) {
	fates := map[string]string{
		// §3.1.1 valid messages
		"wsinv": handled, "intmeth": handled, "esc01": handled, "escnull": handled, "esc02": handled,
		"lwsdisp": handled, "longreq": handled, "dblreq": handled, "semiuri": handled,
		"transports": handled, "mpart01": handled, "unreason": strayed, "noreason": strayed,

		// §3.1.2 invalid messages
		"badinv01": "400", "clerr": "400", "ncl": "400", "scalar02": "400",
		"scalarlg": dropped, // a response
		"quotbal":  "400", "ltgtruri": "400", "lwsruri": "400",
		"lwsstart": "400",   // might be repaired; a peer that writes this is not one of ours
		"trws":     "400",   // likewise
		"escruri":  "400",   // §19.1.1, table 1
		"baddate":  handled, // Date means nothing here
		"regbadct": "400",
		"badaspec": "400", // might be repaired
		"baddn":    "400", // might be repaired; a comma outside quotes may as well end the value
		"badvers":  "505", "mismatch01": "400", "mismatch02": "400",
		"bigcode": dropped, // a response

		// §3.2 transaction layer
		"badbranch": handled, // by the matching rules of RFC 2543

		// §3.3 application layer: the TU's, unless the framing or the transaction needs it
		"insuf": "400", "unkscm": handled, "novelsc": "416", "unksm2": handled, "bext01": handled,
		"invut": handled, "regaut01": handled, "multi01": "400", "mcl01": "400",
		"bcast":    dropped, // two Vias: not for us (RFC 3261 §8.1.3.3)
		"zeromf":   handled, // we are an end, not a hop
		"cparam01": handled, "cparam02": handled, "regescrt": handled, "sdp01": handled,

		// §3.4 backward compatibility
		"inv2543": handled,
	}
	files, err := filepath.Glob("testdata/rfc4475/*.sip")
	if err != nil || len(files) != len(fates) {
		t.Fatalf("%d files for %d fates, %v", len(files), len(fates), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sip")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				if got := fate(t, raw); got != fates[name] {
					t.Fatalf("%s, want %s", got, fates[name])
				}
			})
		})
	}
}

// fate sends one datagram and says what became of it.
func fate(t *testing.T, raw []byte) string {
	r := newRig(t)
	defer r.close(t)
	// Responses go to the port of sent-by if the address there is true; it is not.
	r.peer.send(t, r.us, string(raw))
	synctest.Wait()
	switch {
	case len(r.tu.requests) == 1:
		respond(t, <-r.tu.requests, 404, "t") // what was taken can be answered
		if got := r.peer.read(t); !strings.HasPrefix(got, "SIP/2.0 404 ") {
			t.Fatal(got)
		}
		return handled
	case len(r.tu.strays) == 1:
		return strayed
	}
	got := r.peer.within(100 * time.Millisecond)
	if len(got) == 1 {
		return strings.Fields(got[0])[1]
	}
	return dropped
}

func TestATortuousInviteIsUnderstood(t *testing.T) {
	raw, err := os.ReadFile("testdata/rfc4475/wsinv.sip")
	if err != nil {
		t.Fatal(err)
	}
	m, bad := parse(raw)
	if bad != nil {
		t.Fatal(bad.why)
	}
	req := m.req
	for what, got := range map[string][2]string{
		"Via":      {m.via.Value(), "SIP/2.0/UDP 192.0.2.2;branch=390skdjuw"},
		"From":     {req.From().Value(), `"J Rosenberg \\\"" <sip:jdrosen@example.com>;tag=98asjd8`},
		"To":       {req.To().Value(), "<sip:vivekg@chair-dnrc.example.com>;tag=1918181833n"},
		"Contact":  {req.Contact().Value(), `"Quoted string \"\"" <sip:jdrosen@example.com>;newparam=newvalue;secondparam;q=0.33`},
		"CSeq":     {req.CSeq().Value(), "9 INVITE"},
		"hops":     {req.MaxForwards().Value(), "68"},
		"folded":   {req.GetHeader("NewFangledHeader").Value(), "newfangled value continued newfangled value"},
		"compact":  {req.GetHeader("Subject").Name(), "Subject"},
		"type":     {req.ContentType().Value(), "application/sdp"},
		"body":     {string(req.Body()[:3]), "v=0"},
		"last Via": {req.GetHeaders("Via")[2].Value(), "SIP/2.0/UDP 192.168.255.111;branch=z9hG4bK30239"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %q, want %q", what, got[0], got[1])
		}
	}
	if m.vias != 3 {
		t.Errorf("%d Vias", m.vias)
	}
}
