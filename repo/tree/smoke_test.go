package tree_test

import (
	"context"
	"fmt"
	"os"
	"photree/repo"
	"photree/repo/tree"
	"testing"
)

func TestSmoke(t *testing.T) {
	dir := os.Getenv("SMOKE_DIR")
	if dir == "" {
		t.Skip()
	}
	for _, m := range []repo.Mode{repo.ModeArchive, repo.ModeBare, repo.ModeBareUser, repo.ModeBareUserOnly} {
		p := "/tmp/w/repo/r-" + string(m)
		os.RemoveAll(p)
		os.RemoveAll(p + ".co")
		r, err := repo.Init(p, repo.InitOptions{Mode: m})
		if err != nil {
			t.Fatal(err)
		}
		id, st, err := tree.Commit(context.Background(), r, dir, tree.CommitOptions{Ref: "a/b", Subject: "one"})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(m, id, st)
		if err := tree.Checkout(context.Background(), r, id, p+".co", tree.CheckoutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
