"""Names are those that Traefik gives."""

from streamlb.config.kubernetes_names import child_name, normalise, object_name, rule_key


def test_names_are_those_of_traefik() -> None:
    assert rule_key(("default", "app"), "Host(`foo.com`) && PathPrefix(`/wrr1`)") == "default-app-7d0ac22d3d8db4b82618"
    assert rule_key(("default", "myapp"), "Host(`myapp.test.com`)") == "default-myapp-87012898b0c41cd48555"
    assert normalise("a.b--c__d.") == "a-b-c-d"
    assert normalise("-中/é-1") == "中-é-1"
    assert child_name(("default", "myapp2"), 80) == "default-myapp2-80"
    assert child_name(("default", "my.app"), "web") == "default-my-app-web"
    assert child_name(("default", "app"), 0) == "default-app"


def test_references_stay_in_their_namespace_and_provider() -> None:
    assert object_name("office", "default") == "default-office@kubernetescrd"
    assert object_name("a.b", "ns") == "ns-a-b@kubernetescrd"
    assert object_name("office@kubernetescrd", "ns") == "ns-office@kubernetescrd"
    assert object_name("office@file", "ns") == "office@file"
