import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.utils.SecurityUtils;

/** The commands that go through the admin client: one for each cluster, kept. */
final class Admins {
    private static final Map<String, Admin> ADMINS = new HashMap<>();

    static Admin of(Oracle.Words words) {
        return ADMINS.computeIfAbsent(words.text("bootstrap"),
            bootstrap -> Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap)));
    }

    static Map<String, Object> create(Oracle.Words words) throws Exception {
        int partitions = (int) words.number("partitions", 1);
        short factor = (short) words.number("rf", -1);
        NewTopic topic = new NewTopic(words.text("topic"), partitions, factor).configs(words.config());
        of(words).createTopics(List.of(topic)).all().get();
        // Created is not yet known everywhere: a producer that asks too early would wait for its next refresh.
        TopicDescription known = awaitDescription(words, all ->
            all.size() == partitions && all.stream().allMatch(p -> p.leader() != null));
        awaitLeaders(words, known);
        return Oracle.answers("id", known.topicId());
    }

    static Map<String, Object> delete(Oracle.Words words) throws Exception {
        of(words).deleteTopics(List.of(words.text("topic"))).all().get();
        awaitState(words, () -> !of(words).listTopics().names().get().contains(words.text("topic")));
        return Oracle.answers();
    }

    static Map<String, Object> addPartitions(Oracle.Words words) throws Exception {
        int partitions = (int) words.number("partitions");
        of(words).createPartitions(Map.of(words.text("topic"), NewPartitions.increaseTo(partitions))).all().get();
        awaitLeaders(words, awaitDescription(words, all -> all.size() == partitions));
        return Oracle.answers();
    }

    /**
     * Waits until each partition's leader answers for it. Metadata names it a moment before it has made the log; a
     * producer's first batch is refused then while its second is taken, and that producer is stuck for ever. With
     * ZooKeeper, a broker may also not know yet what another has described.
     */
    private static void awaitLeaders(Oracle.Words words, TopicDescription known) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        for (TopicPartitionInfo p : known.partitions()) {
            asked.put(new TopicPartition(known.name(), p.partition()), OffsetSpec.latest());
        }
        awaitState(words, () -> of(words).listOffsets(asked).all().get().size() == asked.size());
    }

    static Map<String, Object> describe(Oracle.Words words) throws Exception {
        TopicDescription description = description(words);
        Map<String, Object> answers = Oracle.answers("id", description.topicId());
        for (TopicPartitionInfo p : description.partitions()) {
            answers.put("p" + p.partition(), (p.leader() == null ? -1 : p.leader().id())
                + ":" + nodes(p.replicas()) + ":" + nodes(p.isr()));
        }
        return answers;
    }

    static Map<String, Object> describeConfig(Oracle.Words words) throws Exception {
        ConfigResource resource = topicResource(words);
        boolean all = words.flag("all", false);
        Map<String, Object> answers = new TreeMap<>();
        for (ConfigEntry e : of(words).describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
            if (all || e.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) {
                answers.put(e.name(), e.value());
            }
        }
        return answers;
    }

    /** `config.X=v` sets, `delete=X,Y` removes. */
    static Map<String, Object> alterConfig(Oracle.Words words) throws Exception {
        Collection<AlterConfigOp> ops = new ArrayList<>();
        words.config().forEach((key, value) ->
            ops.add(new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET)));
        for (String key : words.text("delete", "").split(",")) {
            if (!key.isEmpty()) {
                ops.add(new AlterConfigOp(new ConfigEntry(key, null), AlterConfigOp.OpType.DELETE));
            }
        }
        of(words).incrementalAlterConfigs(Map.of(topicResource(words), ops)).all().get();
        return Oracle.answers();
    }

    static Map<String, Object> deleteRecords(Oracle.Words words) throws Exception {
        TopicPartition partition = partition(words);
        Map<TopicPartition, RecordsToDelete> map =
            Map.of(partition, RecordsToDelete.beforeOffset(words.number("before")));
        long low = of(words).deleteRecords(map).lowWatermarks().get(partition).get().lowWatermark();
        return Oracle.answers("low", low);
    }

    /** Gives a user this password for both mechanisms of SCRAM; the broker knows then that there is such a user. */
    static Map<String, Object> setPassword(Oracle.Words words) throws Exception {
        String user = words.text("user");
        List<ScramMechanism> mechanisms = List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512);
        for (ScramMechanism mechanism : mechanisms) {
            ScramCredentialInfo info = new ScramCredentialInfo(mechanism, 4096);
            var change = new UserScramCredentialUpsertion(user, info, words.text("password"));
            of(words).alterUserScramCredentials(List.of(change)).all().get();
        }
        awaitState(words, () -> {
            var known = of(words).describeUserScramCredentials(List.of(user)).all().get().get(user);
            return known != null && known.credentialInfos().size() == mechanisms.size();
        });
        return Oracle.answers();
    }

    /** Lets somebody do an operation, or forbids it again; the broker knows of it then. */
    static Map<String, Object> allow(Oracle.Words words, boolean isAllowed) throws Exception {
        ResourceType resource = SecurityUtils.resourceType(words.text("resource"));
        PatternType type = PatternType.valueOf(words.text("pattern"));
        ResourcePattern pattern = new ResourcePattern(resource, words.text("name"), type);
        AclOperation operation = SecurityUtils.operation(words.text("operation"));
        var entry = new AccessControlEntry(words.text("principal"), "*", operation, AclPermissionType.ALLOW);
        AclBinding binding = new AclBinding(pattern, entry);
        if (isAllowed) {
            of(words).createAcls(List.of(binding)).all().get();
        } else {
            of(words).deleteAcls(List.of(binding.toFilter())).all().get();
        }
        awaitState(words, () -> of(words).describeAcls(binding.toFilter()).values().get().isEmpty() != isAllowed);
        return Oracle.answers();
    }

    /** Gives a partition these replicas, waits for the end of the move, and makes the first of them the leader. */
    static Map<String, Object> move(Oracle.Words words) throws Exception {
        List<Integer> replicas = new ArrayList<>();
        for (String id : words.text("replicas").split(",")) {
            replicas.add(Integer.parseInt(id));
        }
        TopicPartition partition = partition(words);
        Admin admin = of(words);
        admin.alterPartitionReassignments(
            Map.of(partition, Optional.of(new NewPartitionReassignment(replicas)))).all().get();
        awaitState(words, () -> admin.listPartitionReassignments(Set.of(partition)).reassignments().get().isEmpty());
        return elect(words);
    }

    /** Makes the first replica the leader. */
    static Map<String, Object> elect(Oracle.Words words) throws Exception {
        TopicPartition partition = partition(words);
        awaitState(words, () -> {
            try {
                of(words).electLeaders(ElectionType.PREFERRED, Set.of(partition)).all().get();
            } catch (java.util.concurrent.ExecutionException thrown) {
                if (!(thrown.getCause() instanceof ElectionNotNeededException)) {
                    return false;
                }
            }
            TopicPartitionInfo info = description(words).partitions().get(partition.partition());
            return info.leader() != null && info.leader().id() == info.replicas().get(0).id();
        });
        return Oracle.answers("leader", description(words).partitions().get(partition.partition()).leader().id());
    }

    /** The first or last offsets of all partitions: at=begin, at=end (high watermark) or at=stable. */
    static Map<String, Object> offsets(Oracle.Words words) throws Exception {
        String at = words.text("at");
        OffsetSpec spec = at.equals("begin") ? OffsetSpec.earliest() : OffsetSpec.latest();
        IsolationLevel level = at.equals("stable") ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED;
        if (!Set.of("begin", "end", "stable").contains(at)) {
            throw new IllegalArgumentException("at is begin, end or stable, not " + at);
        }
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        for (TopicPartitionInfo p : description(words).partitions()) {
            asked.put(new TopicPartition(words.text("topic"), p.partition()), spec);
        }
        Map<String, Object> answers = new TreeMap<>();
        of(words).listOffsets(asked, new ListOffsetsOptions(level)).all().get()
            .forEach((p, info) -> answers.put("p" + p.partition(), info.offset()));
        return answers;
    }

    static Map<String, Object> groupCommit(Oracle.Words words) throws Exception {
        OffsetAndMetadata offset = new OffsetAndMetadata(words.number("offset"),
            words.text("epoch", "").isEmpty() ? Optional.empty() : Optional.of((int) words.number("epoch")),
            words.text("metadata", ""));
        of(words).alterConsumerGroupOffsets(words.text("group"), Map.of(partition(words), offset)).all().get();
        return Oracle.answers();
    }

    /** Each partition as `topic:partition` = `offset:epoch:metadata`. */
    static Map<String, Object> groupOffsets(Oracle.Words words) throws Exception {
        Map<String, Object> answers = new TreeMap<>();
        of(words).listConsumerGroupOffsets(words.text("group")).partitionsToOffsetAndMetadata().get()
            .forEach((p, offset) -> {
                if (offset != null) {
                    answers.put(p.topic() + ":" + p.partition(), offset.offset()
                        + ":" + offset.leaderEpoch().map(String::valueOf).orElse("") + ":" + offset.metadata());
                }
            });
        return answers;
    }

    static TopicDescription description(Oracle.Words words) throws Exception {
        String topic = words.text("topic");
        return of(words).describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    /** A topic as soon as a broker describes its partitions so. The next one that is asked may not know of it yet. */
    private static TopicDescription awaitDescription(Oracle.Words words, Predicate<List<TopicPartitionInfo>> isSo)
            throws Exception {
        TopicDescription[] known = new TopicDescription[1];
        awaitState(words, () -> {
            known[0] = description(words);
            return isSo.test(known[0].partitions());
        });
        return known[0];
    }

    interface Check {
        boolean holds() throws Exception;
    }

    static void awaitState(Oracle.Words words, Check check) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(words.timeoutMs());
        while (true) {
            try {
                if (check.holds()) {
                    return;
                }
            } catch (java.util.concurrent.ExecutionException thrown) {
                if (!(thrown.getCause() instanceof UnknownTopicOrPartitionException)) {
                    throw thrown;
                }
            }
            if (System.nanoTime() > deadline) {
                throw new java.util.concurrent.TimeoutException(words.verb + " did not take effect");
            }
            Thread.sleep(20);
        }
    }

    private static TopicPartition partition(Oracle.Words words) {
        return new TopicPartition(words.text("topic"), (int) words.number("partition", 0));
    }

    private static ConfigResource topicResource(Oracle.Words words) {
        return new ConfigResource(ConfigResource.Type.TOPIC, words.text("topic"));
    }

    private static String nodes(List<Node> nodes) {
        return nodes.stream().map(Node::idString).collect(Collectors.joining(","));
    }
}
