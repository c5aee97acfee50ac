package installer

import (
	"os/exec"
	"strings"
	"testing"
)

// TestSHA512Crypt compares with openssl's implementation, over lengths that
// cross the size of the sum.
func TestSHA512Crypt(t *testing.T) {
	for _, n := range []int{1, 7, 15, 16, 31, 63, 64, 65, 127, 128, 200} {
		password := strings.Repeat("pä$sw0rd", n/8+1)[:n]
		out, err := exec.Command("openssl", "passwd", "-6", "-salt", "0123456789abcdef", password).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
		if got := sha512Crypt(password, "0123456789abcdef"); got != strings.TrimSpace(string(out)) {
			t.Errorf("length %d: got %s, openssl gives %s", n, got, out)
		}
	}
	first := hashPassword("x")
	if again := hashPassword("x"); again == first {
		t.Error("two hashes have the same salt")
	}
}
