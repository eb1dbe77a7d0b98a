package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestACallIsDrawnWithItsLegsItsMediaAndItsLadder(t *testing.T) {
	const answer = `{"call_sid":"call_1","cause":"busy","legs":[{"to":"+91…02","trunk":"out","rang":false,"answered":false,"sip_status":486,"cause":"busy","ring_seconds":0}],
"quality":{"caller":{"packets_received":50,"packets_sent":49,"packets_lost":1,"jitter_ms":2.5},"callee":{"packets_received":49,"packets_sent":50,"packets_lost":0,"jitter_ms":0.1}},
"ladder":{"legs":[{"leg":"a","trunk":"in","transport":"udp"},{"leg":"b1","trunk":"out\u001b[2J","transport":"tls"}],"messages":[
{"offset_ms":0,"leg":"a","direction":"in","message":"INVITE","method":"INVITE","cseq":1,"number":"+91…01","sdp":"PCMA sendrecv"},
{"offset_ms":1.5,"leg":"b1","direction":"out","message":"INVITE","method":"INVITE","cseq":1,"again":true},
{"offset_ms":1234.5678,"leg":"b1","direction":"in","message":"481 Call/Transaction Does Not Exist","method":"BYE","status":481,"cseq":2,"fields":["Reason: Q.850;cause=17"]},
{"offset_ms":2000,"leg":"a","direction":"in","message":"INFO","method":"INFO","cseq":3,"digit":true}],"left_out":7}}`
	want := strings.Join([]string{
		`call_sid  call_1`,
		`cause     busy`,
		``,
		`TO      TRUNK  RANG   ANSWERED  SIP_STATUS  CAUSE  RING_SECONDS`,
		`+91…02  out    false  false     486         busy   0`,
		``,
		`MEDIA   PACKETS_RECEIVED  PACKETS_SENT  PACKETS_LOST  JITTER_MS  ROUND_TRIP_MS  PEER_PACKETS_LOST  PEER_JITTER_MS  STRAYS`,
		`caller  50                49            1             2.5                                                          `,
		`callee  49                50            0             0.1                                                          `,
		``,
		`a   in, udp`,
		`b1  "out\x1b[2J", tls`,
		`              a                         Tandem                        b`,
		`     0.000 s  |-- INVITE ---------------->|                           |  a  +91…01  [PCMA sendrecv]`,
		`     0.002 s  |                           |-- INVITE ---------------->|  b1  again`,
		`     1.235 s  |                           |<- 481 Call/Transaction  --|  b1  Reason: Q.850;cause=17  to BYE`,
		`     2.000 s  |-- INFO ------------------>|                           |  a  a digit`,
		`         …    and 7 more messages`,
		``,
	}, "\n")
	var out bytes.Buffer
	if err := drawCall(&out, []byte(answer)); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
