"""The tests: `render` needs no cluster, `e2e` a real one."""
